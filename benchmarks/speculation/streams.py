"""One greedy stream on text that repeats its context, and branches of one question, drafted and plain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.contest import Score, Work, contest
from benchmarks.ours import Ours
from benchmarks.report import Section, Target
from benchmarks.speculation.model import ALIASES, WITH_MODEL, Model
from benchmarks.speculation.sizes import Sizes
from benchmarks.speculation.texts import Passages
from benchmarks.speculation.totals import Faster, best

DRAFTERS = ("copy", "trie", "hierarchy", "auto", "draft_model", WITH_MODEL)
PLAIN = "plain"
NEW, LONG, MOST = 128, 256, 300  # tokens of a passage's stream, of a longer one; the most of a solution
VOTE, STREAM = 0.6, 2.0  # wall time over plain's at most; speed over plain's at least
STREAMS = f"""Batch 1, temperature 0, cold: a new prompt each round, drafters that know nothing of it.
*procedures*: problems of that family to their natural end; every step of a solution repeats most of the
list before it. *passages*: `Summarize:` and 280 tokens of Shakespeare, then {NEW} tokens, or {LONG}, with the
end of text ignored: the prompt, which nobody drafts, takes a good part of the time of the short ones. The
model is no summariser and would end at once; what it writes instead is its own, loops of words, and nothing
is forced. *{WITH_MODEL}* is `{ALIASES[WITH_MODEL]}`."""


@dataclass(frozen=True)
class Stream:
    """A kind of work, and how much faster each rival was at it than plain decoding."""

    work: str
    scores: dict[str, Score]
    accepted: dict[str, float]  # tokens a step

    def over_plain(self, name: str) -> Faster:
        return Faster.of(self.scores[name], self.scores[PLAIN])


def works(model: Model) -> dict[str, Callable[[int], Work]]:
    """What is written greedily, by name."""
    problems = model.prompts("procedures")
    found: dict[str, Callable[[int], Work]] = {
        "procedures": lambda turn: Work(problems.problem(), 1, MOST, greedy=True, stops=True, seed=turn)
    }
    for new in (NEW, LONG):
        passages = Passages.find(problems)
        if passages is not None:
            found[f"passages, {new} tokens"] = partial(_of_passage, passages, new)
    return found


def _of_passage(passages: Passages, new: int, turn: int) -> Work:
    return Work(passages.next(), 1, new, greedy=True, seed=turn)


def rivals(model: Model, drafters: Sequence[str]) -> list[Ours]:
    """Plain decoding and each drafter."""
    return [Ours(model.engine(), PLAIN), *(Ours(model.engine(name), name) for name in drafters)]


def check_same(ours: Sequence[Ours]) -> None:
    """AssertionError where a draft has changed a text."""
    for other in ours[1:]:
        for plain, drafted in zip(ours[0].answers, other.answers, strict=True):
            assert plain.text == drafted.text, f"{other.name} wrote {drafted.text!r}, plain {plain.text!r}"


def stream(model: Model, name: str, work: Callable[[int], Work], sizes: Sizes) -> Stream:
    """Plain against every drafter."""
    ours = rivals(model, DRAFTERS)
    scores = contest(ours, sizes.rounds, work, sizes.seconds, is_tidy=True)
    check_same(ours)
    return Stream(name, scores, {one.name: _tokens_a_step(one) for one in ours})


def measure(model: Model, sizes: Sizes) -> tuple[Section, list[Stream]]:
    """The table of streams, and what was measured."""
    section = Section(
        f"One greedy stream, {model.title}",
        ["text", "drafter", "tokens/s", "over plain", "tokens a checked step", "rounds"],
        before=[STREAMS],
    )
    found = [stream(model, name, work, sizes) for name, work in works(model).items()]
    for one in found:
        for name, score in one.scores.items():
            ratio, accepted = one.over_plain(name), f"{one.accepted[name]:.2f}"
            rate, rounds = f"{score.rate:.0f}", str(ratio.rounds)
            section.rows.append([one.work, name, rate, str(ratio), accepted, rounds])
        drafted = {name: score for name, score in one.scores.items() if name != PLAIN}
        for name, note in ((best(drafted), "the fastest drafter"), ("auto", "")):
            what = f"{model.title}: greedy stream on {one.work}, {name}, over plain"
            section.targets.append(Target(what, one.over_plain(name).total, STREAM, note=note))
    if len(found) == 1:
        section.before.append("**No passages: set OUTTHINK_DATA to a folder with text/shakespeare.txt.**")
        section.targets.append(Target(f"{model.title}: greedy stream on passages", None, STREAM))
    return section, found


def vote(model: Model, sizes: Sizes) -> Section:
    """`vote(n=8)` on problems of `steps`, to their natural end."""
    section = Section(
        f"vote(n=8) on steps, {model.title}",
        ["drafter", "tokens/s", "wall time over plain's", "tokens a checked step", "rounds"],
        before=["Batch 1, 8 branches, temperature 0.8, natural ends, cold. The same text in every round."],
    )
    ours = rivals(model, ("auto", "consensus", "draft_model", WITH_MODEL))
    problems = model.prompts("steps")
    scores = contest(
        ours,
        sizes.rounds,
        lambda turn: Work(problems.problem(), 8, MOST, stops=True, seed=turn),
        2 * sizes.seconds,  # problems differ in how soon their branches part
        is_tidy=True,
    )
    check_same(ours)
    for one in ours:
        wall = Faster.of(scores[PLAIN], scores[one.name])
        rate = f"{scores[one.name].rate:.0f}"
        section.rows.append([one.name, rate, str(wall), f"{_tokens_a_step(one):.2f}", str(wall.rounds)])
        if one.name in ("auto", WITH_MODEL):
            what = f"{model.title}: vote(n=8) on steps, {one.name}, wall time over plain's"
            section.targets.append(Target(what, wall.total, VOTE, at_least=False))
    return section


def _tokens_a_step(ours: Ours) -> float:
    """Mean over all answers, weighed by what they wrote; steps that nobody heard of (asleep) do not count."""
    receipts = [answer.receipt for answer in ours.answers if answer.receipt is not None]
    steps = sum(r.actual.written / r.drawn_per_row for r in receipts)
    return sum(r.actual.written for r in receipts) / steps
