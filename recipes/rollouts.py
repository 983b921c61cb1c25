"""Rollouts on the train split, for a reward head: what the model writes, and whether it ends right.

python recipes/rollouts.py --model pocket --minutes 6 --out ROLLOUTS.jsonl

One line a problem: the prompt's tokens, the tokens of each sample, and whether each sample's answer is right.
Problems go round the families and their levels, the default level twice as often as its neighbours; a
problem's split is a hash of its content, so no test problem occurs. Stops after so many minutes, at a whole
round.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import outthink as ot
from outthink.bench.tasks import load
from outthink.engine.engine import Done, Engine
from outthink.engine.request import Request
from outthink.strategy.once import write

LEVELS = {"steps": (3, 4, 4, 5), "countdown": (2, 3, 3, 4), "paths": (4, 5, 5, 6), "procedures": (3, 4, 4, 5)}
ROUND = 64  # problems of a round: as many at once as fill the passes
MOST_TOKENS = 400


@dataclass(frozen=True)
class Rollouts:
    """n samples; each answer's `stats` hold its tokens."""

    n: int = 4

    async def __call__(self, root: ot.Branch, /) -> ot.Answer:
        async def one(branch: ot.Branch) -> ot.Answer:
            found = await write(branch, branch.sampling)
            return ot.Answer(found.text, found.final, finish=found.finish, stats={"tokens": branch.tokens})

        return ot.Answer("", others=tuple(await ot.gather(*map(one, root.fork(self.n)))))


def problems(seed: int) -> Iterator[ot.Problem]:
    """Train problems without end: every family and level in turn."""
    tasks = [load(name, level=level, seed=seed) for place in range(4) for name in LEVELS
             for level in [LEVELS[name][place]]]  # fmt: skip
    for index in itertools.count():
        yield tasks[index % len(tasks)].problem("train", index // len(tasks))


def line(done: Done, prompt: list[int]) -> dict[str, object]:
    """What is kept of a problem."""
    problem, samples = done.request.problem, done.answer.others
    return {
        "family": problem.task.name,
        "level": problem.level,
        "id": problem.id,
        "prompt": prompt,
        "written": [list(sample.stats["tokens"]) for sample in samples],
        "ended": [sample.finish == "eos" for sample in samples],
        "right": [problem.task.check(problem, sample.final) for sample in samples],
    }


def options() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--samples", type=int, default=4, help="of each problem")
    parser.add_argument("--seed", type=int, default=11, help="of the problems and of the samples")
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def rounds(engine: Engine, opts: argparse.Namespace) -> Iterator[Done]:
    """Problems as they are done, round after round until the time is over."""
    sampling = ot.Sampling(temperature=opts.temperature, max_tokens=MOST_TOKENS)
    source, until = problems(opts.seed), time.monotonic() + 60 * opts.minutes
    while time.monotonic() < until:
        wave = [Request(Rollouts(opts.samples), p, sampling=sampling, seed=opts.seed)
                for p in itertools.islice(source, ROUND)]  # fmt: skip
        yield from engine.map(wave)


def main() -> None:
    """Write rollouts."""
    opts = options()
    engine = ot.load(opts.model, threads=1)
    tokenizer = engine.place(None).tokenizer
    count = right = total = 0
    with opts.out.open("w") as out:
        for done in rounds(engine, opts):
            if done.error is not None:
                raise done.error
            prompt = tokenizer.chat([{"role": "user", "content": done.request.problem.prompt}])
            record = line(done, prompt)
            out.write(json.dumps(record, separators=(",", ":")) + "\n")
            count, right, total = count + 1, right + sum(record["right"]), total + opts.samples
    print(f"{count} problems, {total} samples, {right / max(1, total):.1%} right")


if __name__ == "__main__":
    main()
