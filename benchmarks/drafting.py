"""What a draft costs in Python: a text that is known is drafted for again and again, without a model.

python -m benchmarks.drafting [--drafters "copy(n=8)" auto ...] [--rounds 5] [--texts 8]

Each source walks through greedy answers to problems of `procedures` as if it had drafted for them: propose,
see what of the draft is right, observe. Microseconds are of a step (propose and observe together), for each
step the least of all rounds; the fingerprint is of everything that was drafted, so that a faster drafter is
seen to draft the same.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import outthink as ot
from outthink import spec
from outthink.bench.tasks.procedures import Procedures
from outthink.core import rng
from outthink.core.draft import Draft
from outthink.core.drafting import Outcome, Tip
from outthink.core.types import Sampling

DRAFTERS = ["copy(n=8)", "copy", "trie", "consensus", "hierarchy", "recycling", "stand", "jacobi", "auto"]
GREEDY = Sampling(temperature=0.0)


class Text(NamedTuple):
    """A prompt and what was written after it."""

    prompt: list[int]
    answer: list[int]


class Told(NamedTuple):
    """What came of drafting for all texts."""

    seconds: list[float]  # of each step
    drafted: int
    accepted: int
    fingerprint: str


def texts(count: int) -> list[Text]:
    """Greedy answers of `pocket`."""
    engine, task = ot.load("pocket"), Procedures()
    found = []
    for i in range(count):
        problem = task.problem("test", i)
        answer = ot.run(ot.strategy.Greedy(), problem, engine)
        prompt = engine.main.tokenizer.chat([{"role": "user", "content": problem.prompt}])
        found.append(Text(prompt, engine.main.tokenizer.encode(answer.text, special=False)))
    return found


def studio(vocab: int = 1024) -> Any:
    """What sources have at hand: no model."""
    return SimpleNamespace(
        vocab=vocab, tokenizer=None, ends=frozenset(), layers=0, shares_noise=True, pace={},
        clock=time.perf_counter, seconds=lambda rows: 1.0,
        chance=lambda tip: rng.Chance(7), luck=lambda name: rng.Chance(8),
    )  # fmt: skip


def walk(drafter: Any, known: Sequence[Text], branches: int = 1) -> Told:
    """Draft for every text, `branches` times over, with one source for each text."""
    seen = hashlib.blake2b(digest_size=6)
    seconds: list[float] = []
    drafted, accepted = 0, 0
    for text in known:
        source = drafter.open(studio())
        for _ in range(branches):
            tip = Tip(text.prompt, len(text.prompt), GREEDY)
            at = 0
            while at < len(text.answer):
                began = time.perf_counter()
                draft = source.propose(tip, len(text.answer) - at, 64)
                spent = time.perf_counter() - began
                outcome = _checked(draft, text.answer[at:], source.tops)
                tip.grow(outcome.tokens)
                at += len(outcome.tokens)
                began = time.perf_counter()
                source.observe(tip, outcome)
                seconds.append(spent + time.perf_counter() - began)
                accepted += len(outcome.path)
                if draft is not None:
                    drafted += len(draft.tokens)
                    seen.update(
                        repr((draft.tokens, draft.parents, [round(c, 9) for c in draft.conf])).encode()
                    )
            source.end(tip)
    return Told(seconds, drafted, accepted, seen.hexdigest())


def _checked(draft: Draft | None, rest: Sequence[int], tops: int) -> Outcome:
    """What a model that writes `rest` makes of a draft: it is told nothing of nodes beside the text."""
    path: list[int] = []
    drawn, at = {-1: rest[0]}, -1
    for node, (token, parent) in enumerate(zip(draft.tokens, draft.parents, strict=True)) if draft else ():
        if parent == at and len(path) + 1 < len(rest) and token == rest[len(path)]:
            path.append(node)
            at = node
            drawn[node] = rest[len(path)]
    likely = {node: [(token, -0.01), *((t, -6.0) for t in range(tops - 1))] for node, token in drawn.items()}
    return Outcome(draft, drawn, tuple(path), list(rest[: len(path) + 1]), likely if tops else {})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--drafters", nargs="+", default=DRAFTERS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=8)
    parser.add_argument("--branches", type=int, default=1)
    given = parser.parse_args()
    known = texts(given.texts)
    print("| drafter | us a step | tokens a step | drafted | accepted | fingerprint |\n" + "|---" * 6 + "|")
    for name in given.drafters:
        drafter = spec.parse(name, "speculate")
        rounds = [walk(drafter, known, given.branches) for _ in range(given.rounds)]
        told, best = rounds[0], [min(step) for step in zip(*(r.seconds for r in rounds), strict=True)]
        assert {r.fingerprint for r in rounds} == {told.fingerprint}, f"{name} drafts otherwise each time"
        per_step = 1 + told.accepted / len(best)
        micros = 1e6 * sum(best) / len(best)
        counts = f"{per_step:.2f} | {told.drafted} | {told.accepted}"
        print(f"| `{name}` | {micros:.1f} | {counts} | {told.fingerprint} |")


if __name__ == "__main__":
    main()
