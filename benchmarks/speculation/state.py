"""What drafters remember, and how soon a datastore answers."""

from __future__ import annotations

from benchmarks.contest import Work
from benchmarks.ours import Ours
from benchmarks.report import Section, Target
from benchmarks.speculation.model import Model
from benchmarks.speculation.sizes import Sizes
from benchmarks.speculation.streams import MOST

MOST_BYTES = 2e6
REMEMBERS = ("recycling", "copy", "trie", "stand")
INTRODUCTION = """`vote(n=8)` on `steps`, temperature 0.8. A dash: the drafter does not say. That of recycling
is its table of successors, all of the vocabulary."""


def measure(model: Model, sizes: Sizes) -> Section:
    """The most that a source held in a run of `vote(n=8)`, as its receipt says."""
    section = Section(
        f"What drafters remember, {model.title}",
        ["drafter", "kilobytes at most", "tokens a checked step"],
        before=[INTRODUCTION],
    )
    for name in REMEMBERS:
        ours, problems, most = Ours(model.engine(name), name), model.prompts("steps"), 0.0
        for turn in range(sizes.texts):
            ours.write(Work(problems.problem(), 8, MOST, stops=True, seed=turn))
        receipts = [answer.receipt for answer in ours.answers if answer.receipt is not None]
        most = max(tally.state_bytes for receipt in receipts for tally in receipt.speculation.values())
        tokens = sum(receipt.drawn_per_row for receipt in receipts) / len(receipts)
        section.rows.append([name, f"{most / 1e3:.0f}" if most else "-", f"{tokens:.2f}"])
        if name == "recycling":
            what = f"recycling's state in bytes, vocabulary of {model.backend.about.vocab}"
            section.targets.append(Target(what, most or None, MOST_BYTES, at_least=False))
    return section
