"""Numbers for Prometheus, in its text format. No prompt, key or model name is ever a label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from outthink.serve.wire import Ended

TOTALS = ("passes", "rows", "written", "forward_seconds", "pass_seconds", "warnings")  # of the engine
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Histogram:
    """Counts of seconds by upper bound."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        place = next((i for i, bound in enumerate(BUCKETS) if seconds <= bound), len(BUCKETS))
        self.counts[place] += 1
        self.sum += seconds

    def lines(self, name: str) -> Iterator[str]:
        total = 0
        for bound, number in zip((*map(str, BUCKETS), "+Inf"), self.counts, strict=True):
            total += number
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self.sum:.6f}"
        yield f"{name}_count {total}"


class Metrics:
    """What the HTTP side counts."""

    def __init__(self) -> None:
        self.replies: dict[int, int] = {}  # by status
        self.read = 0
        self.written = 0
        self.disconnected = 0
        self.first = Histogram()
        self.whole = Histogram()

    def replied(self, status: int) -> None:
        self.replies[status] = self.replies.get(status, 0) + 1

    def ended(self, ended: Ended) -> None:
        self.read += ended.read
        self.written += ended.written

    def text(self, engine: Mapping[str, float], waiting: int) -> str:
        """The page; `engine` are the facts that the engine gave."""
        lines = ["# TYPE outthink_replies_total counter"]
        lines += [f'outthink_replies_total{{status="{s}"}} {n}' for s, n in sorted(self.replies.items())]
        counters = {
            "prompt_tokens_total": self.read,
            "written_tokens_total": self.written,
            "disconnects_total": self.disconnected,
        }
        for name, value in counters.items():
            lines += [f"# TYPE outthink_{name} counter", f"outthink_{name} {value}"]
        for name, number in {"waiting": float(waiting), **engine}.items():
            is_total = name in TOTALS
            title = f"outthink_engine_{name}_total" if is_total else f"outthink_{name}"
            lines += [f"# TYPE {title} {'counter' if is_total else 'gauge'}", f"{title} {number:g}"]
        for name, histogram in (("first_byte_seconds", self.first), ("request_seconds", self.whole)):
            lines.append(f"# TYPE outthink_{name} histogram")
            lines += histogram.lines(f"outthink_{name}")
        return "\n".join(lines) + "\n"
