"""Where the time of a speculative step goes, and the formula of the speed-up beside the measured one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from benchmarks.contest import Work
from benchmarks.ours import local, request
from benchmarks.report import Section
from benchmarks.speculation.model import Model
from benchmarks.speculation.passes import Passes
from benchmarks.speculation.sizes import Sizes
from benchmarks.speculation.streams import DRAFTERS, PLAIN, Stream, works
from benchmarks.watching import watching
from outthink.engine import admission, drafts, place
from outthink.engine.growth import Growth
from outthink.engine.speculator import Speculator

PARTS: dict[str, tuple[object, str]] = {  # none is inside another
    "propose": (Speculator, "propose"),
    "choose": (drafts, "_chosen"),
    "grow": (Growth, "__init__"),
    "add rows": (admission.Admission, "add_draft"),
    "pack": (place, "pack"),
    "accept": (Speculator, "accept"),
    "shrink": (Growth, "close"),
    "observe": (Speculator, "observe"),
    "end": (Speculator, "end"),
}
INTRODUCTION = """Microseconds a step of the target (a pass that writes), the same texts for all, apart from
the contest because the clocks cost time themselves. *rows* of a pass after the prompt; *forward* by a clock
around it, *draw* likewise; *model draft* is what passes of a drafting model take. *Formula*: tokens a step
x v(1) / (v(rows) + drafting), with v as timed below: what speculation would win if the engine cost nothing.
*Measured* is the speed-up in the contest. Where the formula says less than 2, the model's own passes do not
allow 2."""
OWN = """The same steps: microseconds of speculation's own parts (`engine/speculator.py`, `drafts.py`,
`growth.py`, `choice.py`, rows in `admission.py`, packing). *rest* is everything else outside forward and
draw: the engine as plain decoding has it too."""


@dataclass
class Clocks:
    """Seconds in each part."""

    seconds: dict[str, float] = field(default_factory=dict)

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

        return timed


@contextmanager
def clocked() -> Iterator[Clocks]:
    """Clocks around all parts that compute at once; what thinks waits for passes, and those are clocked."""
    clocks = Clocks()
    with ExitStack() as stack:
        for name, (owner, attribute) in PARTS.items():
            function = clocks.around(name, getattr(owner, attribute))
            stack.enter_context(mock.patch.object(owner, attribute, function))
        yield clocks


@dataclass(frozen=True)
class Steps:
    """One drafter's steps after the prompt's pass; all but tokens and rows are seconds a step."""

    tokens: float
    rows: float
    wall: float
    forward: float
    draw: float
    drafting: float  # passes of a drafting model, with their draws
    parts: dict[str, float]

    @property
    def rest(self) -> float:
        return self.wall - self.forward - self.draw - self.drafting - sum(self.parts.values())

    def formula(self, passes: Passes) -> float:
        """The speed-up if a step cost its forward and its drafting, and a plain one v(1)."""
        propose = self.parts["propose"] if self.drafting == 0 else 0.0
        return self.tokens * passes.at(1) / (passes.at(self.rows) + self.drafting + propose)


def take_apart(model: Model, name: str, texts: Sequence[Work]) -> Steps:
    """Run the first work to warm up, the others under clocks."""
    engine = model.engine("none" if name == PLAIN else name)
    engine.run(request(texts[0]))
    others = [local(place) for place in engine.places.values() if place is not engine.main]
    wall, written, firsts = 0.0, 0, []
    with ExitStack() as stack:
        seen = stack.enter_context(watching(local(engine.main)))
        drafting = [stack.enter_context(watching(backend)) for backend in others]
        clocks = stack.enter_context(clocked())
        for work in texts[1:]:
            firsts.append(len(seen.forward.sizes))
            began = engine.clock()
            answer = engine.run(request(work))
            wall += engine.clock() - began
            assert answer.receipt is not None
            written += answer.receipt.actual.written - 1  # the first by the prompt's pass
    steps = seen.forward.count() - len(firsts)  # several may be one call; a prompt's is always alone
    prompt = sum(seen.forward.seconds[i] for i in firsts)
    rows = seen.forward.total() - sum(seen.forward.sizes[i] for i in firsts)
    small = sum(sum(calls.seconds) for one in drafting for calls in (one.forward, one.draw))
    return Steps(
        tokens=written / steps,
        rows=rows / steps,
        wall=(wall - prompt) / steps,
        forward=(sum(seen.forward.seconds) - prompt) / steps,
        draw=sum(seen.draw.seconds) / steps,
        drafting=small / steps,
        parts={part: clocks.seconds.get(part, 0.0) / steps for part in PARTS},
    )


def measure(model: Model, passes: Passes, streams: Sequence[Stream], sizes: Sizes) -> list[Section]:
    """What the formula says, and speculation's own time."""
    whole = Section(
        f"A step taken apart, {model.title}",
        [
            "text",
            "drafter",
            "tokens",
            "rows",
            "forward",
            "model draft",
            "draw",
            "own and rest",
            "formula",
            "measured",
        ],
        before=[INTRODUCTION],
    )
    own = Section(f"Speculation's own time, {model.title}", ["text", "drafter", *PARTS, "rest"], before=[OWN])
    for stream in streams:
        work = works(model)[stream.work]
        texts = [work(turn) for turn in range(sizes.texts + 1)]
        for name in (PLAIN, *DRAFTERS):
            steps = take_apart(model, name, texts)
            mine = steps.wall - steps.forward - steps.draw - steps.drafting
            times = [f"{1e6 * t:.0f}" for t in (steps.forward, steps.drafting, steps.draw, mine)]
            whole.rows.append([
                stream.work, name, f"{steps.tokens:.2f}", f"{steps.rows:.1f}", *times,
                f"{steps.formula(passes):.2f}", f"{stream.over_plain(name).total:.2f}",
            ])  # fmt: skip
            micros = [f"{1e6 * t:.0f}" for t in (*steps.parts.values(), steps.rest)]
            own.rows.append([stream.work, name, *micros])
    return [whole, own]
