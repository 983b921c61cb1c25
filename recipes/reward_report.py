"""Measure a reward head on the test split, and write its model card.

python recipes/reward_report.py --head src/outthink/weights/pocket/prm --problems 100

Eight samples a problem at temperature 0.8, every family at its default level. By family: how well the last
step's value tells right samples from wrong ones (AUC; of all pairs, and of pairs from one problem), how well
it is calibrated (ECE: mean gap of mean value and share right over ten bins of equal width, by size), and what
selecting by it gives beside a vote. Intervals are 95 %: Wilson for shares, else bootstrap over problems.
"""

from __future__ import annotations

import argparse
import json
import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import outthink as ot
from outthink.bench.tasks import load
from outthink.core.judging import judge
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.stats import paired_bootstrap, wilson
from outthink.strategy.once import write
from outthink.strategy.vote import elect
from outthink.verify import Prm

FAMILIES = ("steps", "countdown", "paths", "procedures")
CARD = Path(__file__).with_name("reward_card.md")
Pair = tuple[float, bool]


@dataclass(frozen=True)
class Judged:
    """n samples with the head's score, in the order drawn."""

    head: str
    n: int = 8

    async def __call__(self, root: ot.Branch, /) -> ot.Answer:
        answers = await ot.gather(*(write(branch, root.sampling) for branch in root.fork(self.n)))
        scores = await judge(Prm(self.head), [root.candidate(answer) for answer in answers])
        kept = [
            ot.Answer(a.text, a.final, s.value, a.finish, a.tokens, a.logprob)
            for a, s in zip(answers, scores, strict=True)
        ]
        return ot.Answer("", others=tuple(kept))


def auc(pairs: Sequence[Pair]) -> float:
    """P(a right one scores higher than a wrong one), ties counting half; nan without both."""
    wrong = sorted(score for score, is_right in pairs if not is_right)
    right = [score for score, is_right in pairs if is_right]
    if not wrong or not right:
        return float("nan")
    return sum(bisect_left(wrong, s) + bisect_right(wrong, s) for s in right) / (2 * len(wrong) * len(right))


def within(groups: Sequence[Sequence[Pair]]) -> float:
    """AUC of the pairs whose samples answer one problem, all pairs weighing alike."""
    sizes = [(sum(r for _, r in g), sum(not r for _, r in g)) for g in groups]
    mixed = [(g, a * b) for g, (a, b) in zip(groups, sizes, strict=True) if a * b]
    return sum(auc(g) * size for g, size in mixed) / sum(size for _, size in mixed) if mixed else float("nan")


def ece(pairs: Sequence[Pair], bins: int = 10) -> float:
    """Expected calibration error."""
    found = 0.0
    for low in range(bins):
        some = [(s, r) for s, r in pairs if min(int(s * bins), bins - 1) == low]
        found += abs(sum(s for s, _ in some) - sum(r for _, r in some))
    return found / len(pairs)


def resampled(groups: Sequence[Any], figure: Callable[[Sequence[Any]], float], seed: int = 0) -> list[float]:
    """A figure with its percentile interval over 300 resamples of the problems."""
    draw = random.Random(seed)
    found = sorted(figure(draw.choices(groups, k=len(groups))) for _ in range(300))
    return [round(x, 4) for x in (figure(groups), found[7], found[292])]


def flat(groups: Sequence[Sequence[Pair]]) -> list[Pair]:
    return [pair for group in groups for pair in group]


def measure(engine: Engine, family: str, opts: argparse.Namespace) -> dict[str, Any]:
    """One family at its default level."""
    task, part = load(family), Judged(str(opts.head), opts.n)
    sampling = ot.Sampling(temperature=0.8, max_tokens=400)
    asked = [
        Request(part, task.problem("test", i), seed=opts.seed, sampling=sampling, tag=i)
        for i in range(opts.problems)
    ]
    groups: dict[int, Sequence[ot.Answer]] = {}
    for done in engine.map(asked):
        if done.error is not None:
            raise done.error
        groups[done.request.tag] = done.answer.others
    answers = [groups[i] for i in range(opts.problems)]
    right = [
        [task.check(request.problem, a.final) for a in some]
        for request, some in zip(asked, answers, strict=True)
    ]
    by_head = [
        [(a.score, r) for a, r in zip(some, rs, strict=True)] for some, rs in zip(answers, right, strict=True)
    ]
    by_likelihood = [[(a.logprob / a.tokens, r) for a, r in zip(some, rs, strict=True)]
                     for some, rs in zip(answers, right, strict=True)]  # fmt: skip

    def chosen(pick: Callable[[Sequence[ot.Answer]], ot.Answer]) -> list[float]:
        return [
            float(task.check(q.problem, pick(some).final)) for q, some in zip(asked, answers, strict=True)
        ]

    picks = {
        "vote": chosen(elect),
        "best_of_n": chosen(lambda some: max(some, key=lambda a: a.score)),
        "weighted_vote": chosen(lambda some: elect(some, [a.score for a in some])),
        "best_of_n by likelihood": chosen(lambda some: max(some, key=lambda a: a.logprob / a.tokens)),
    }
    count = len(right)
    return {
        "family": family,
        "level": task.level,
        "problems": count,
        "samples": opts.n,
        "auc": resampled(by_head, lambda g: auc(flat(g))),
        "auc_within": resampled(by_head, within),
        "auc_likelihood": resampled(by_likelihood, lambda g: auc(flat(g))),
        "auc_likelihood_within": resampled(by_likelihood, within),
        "ece": resampled(by_head, lambda g: ece(flat(g))),
        "mean": round(sum(map(sum, right)) / (count * opts.n), 4),
        "any": round(sum(map(any, right)) / count, 4),
        "share": {name: [sum(p) / count, *map(float, wilson(sum(p), count))] for name, p in picks.items()},
        "minus_vote": {
            name: list(map(float, paired_bootstrap(p, picks["vote"])))
            for name, p in picks.items()
            if name != "vote"
        },
    }


def percent(three: Sequence[float]) -> str:
    """`45 [38, 52]`."""
    return f"{100 * three[0]:.0f} [{100 * three[1]:.0f}, {100 * three[2]:.0f}]"


def plain(three: Sequence[float]) -> str:
    """`0.81 [0.78, 0.84]`."""
    return f"{three[0]:.2f} [{three[1]:.2f}, {three[2]:.2f}]"


def card(records: Sequence[dict[str, Any]], training: dict[str, Any]) -> str:
    """The model card."""
    figures = ("auc", "auc_likelihood", "auc_within", "auc_likelihood_within", "ece")
    names = ("vote", "best_of_n", "weighted_vote", "best_of_n by likelihood")
    telling, choosing = [], []
    for r in records:
        telling.append([r["family"], *(plain(r[name]) for name in figures)])
        shares = [percent(r["share"][name]) for name in names]
        gaps = [percent(r["minus_vote"][name]) for name in ("best_of_n", "weighted_vote")]
        choosing.append([r["family"], f"{100 * r['mean']:.0f}", f"{100 * r['any']:.0f}", *shares, *gaps])
    return CARD.read_text().format(
        telling="\n".join("| " + " | ".join(row) + " |" for row in telling),
        choosing="\n".join("| " + " | ".join(row) + " |" for row in choosing),
        n=records[0]["samples"],
        count=records[0]["problems"],
        **training,
    )


def options() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--head", type=Path, required=True)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--n", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Measure, and write README.md and measured.json beside the head."""
    opts = options()
    engine = ot.load(opts.model, threads=1)
    records = []
    for family in FAMILIES:
        records.append(measure(engine, family, opts))
        print(json.dumps(records[-1]), flush=True)
    (opts.head / "measured.json").write_text(json.dumps(records, indent=1) + "\n")
    training = json.loads((opts.head / "training.json").read_text())
    (opts.head / "README.md").write_text(card(records, training))


if __name__ == "__main__":
    main()
