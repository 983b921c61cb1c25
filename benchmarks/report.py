"""RESULTS.md: sections of tables, and every target with whether it was reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

HEAD = """# Results

Written by `python -m benchmarks` (`make bench`); do not edit. All rivals run in one process, one after
another in every round, with the same weights, threads, prompt and number of tokens.
"""


@dataclass(frozen=True)
class Target:
    """Something to reach: `value` at least (`>=`) or at most (`<=`) `bound`; no value, not measured."""

    what: str
    value: float | None
    bound: float
    at_least: bool = True
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        reached = self.value >= self.bound if self.at_least else self.value <= self.bound
        return "reached" if reached else "**missed**"

    def row(self) -> list[str]:
        """For the table of targets."""
        sign = "at least" if self.at_least else "at most"
        value = "-" if self.value is None else f"{self.value:.3g}"
        return [self.what, f"{sign} {self.bound:g}", value, self.verdict, self.note]


@dataclass
class Section:
    """One part of the results."""

    title: str
    header: list[str]
    rows: list[list[str]] = field(default_factory=list)
    before: list[str] = field(default_factory=list)  # paragraphs
    after: list[str] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)

    def text(self) -> str:
        """In Markdown."""
        rows = [table(self.header, self.rows)] if self.rows else []
        return "\n\n".join(
            part.strip("\n") for part in (f"## {self.title}", *self.before, *rows, *self.after)
        )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def render(
    machine: Sequence[str], sections: Sequence[Section], remarks: Sequence[str] = (), head: str = HEAD
) -> str:
    """The whole document."""
    targets = [target.row() for section in sections for target in section.targets]
    parts = [head, "## Machine", "\n".join(f"- {line}" for line in machine)]
    parts += [f"**{remark}**" for remark in remarks]
    parts += ["## Targets", table(["what", "target", "measured", "", ""], targets)]
    parts += [section.text() for section in sections]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def kept(path: Path, title: str) -> str:
    """The text of a section of an earlier run, empty if there is none."""
    text = path.read_text() if path.exists() else ""
    _, found, rest = f"\n{text}".partition(f"\n## {title}\n")
    body, *_ = rest.split("\n## ", 1)
    return f"## {title}\n{body}".rstrip() if found else ""


def put(path: Path, section: Section) -> None:
    """Put a section where that of an earlier run is, or at the end; the rest of the file stays."""
    text, old = path.read_text() if path.exists() else "", kept(path, section.title)
    new = section.text().rstrip()
    write(path, text.replace(old, new, 1) if old else f"{text.rstrip()}\n\n{new}\n".lstrip())


def write(path: Path, text: str) -> None:
    """Replace the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
