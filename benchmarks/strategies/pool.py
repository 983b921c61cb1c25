"""The pool: recorded samples of every problem under every seed, from which selectors are replayed.

Sample i of the pool is what `vote(n)` writes on its branch i under the same seed, whatever n is.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import outthink as ot
from benchmarks.strategies import lines
from benchmarks.strategies.settings import Cell, sampling
from outthink.core.judging import judge
from outthink.core.types import Answer
from outthink.engine.request import Request
from outthink.spec import parse, show
from outthink.strategy import Once

if TYPE_CHECKING:
    from outthink.engine.engine import Engine

SIZE = 96


@dataclass(frozen=True)
class Pool:
    """n samples in the order of their branches, each with its certainty by token and a verifier's score."""

    n: int = SIZE
    verifier: Any = None

    __repr__ = show

    async def __call__(self, root: ot.Branch, /) -> Answer:
        root.record("certainty", *(self.verifier.records if self.verifier else ()))

        async def one(branch: ot.Branch) -> Answer:
            answer = await Once()(branch)
            if self.verifier is None:
                return answer
            [score] = await judge(self.verifier, [branch.candidate(answer)])
            return replace(answer, score=score.value)

        answers: list[Answer] = await ot.gather(*map(one, root.fork(self.n)))
        return replace(answers[0], others=tuple(answers[1:]))


def record(engine: Engine, path: Path, todo: list[Cell], size: int = SIZE, head: str = "") -> None:
    """Add the samples of every cell that the file lacks. `head` is a verifier that needs the model."""
    have = {(line["family"], line["seed"], line["index"]) for line in lines.read(path)}
    missing = [cell for cell in todo if cell not in have]
    pool = Pool(size, parse(head, "verify") if head else None)
    requests = [Request(pool, c.problem(), seed=c.key(), sampling=sampling(), tag=c) for c in missing]
    began = time.process_time()
    for done in engine.map(requests, concurrency=4):
        if done.error is not None or done.answer is None:
            raise RuntimeError(f"{done.request.tag}: {done.error}")
        seconds, began = time.process_time() - began, time.process_time()
        lines.append(path, _line(done.request.tag, done.answer, seconds, head))


def _line(cell: Cell, answer: Answer, seconds: float, head: str) -> lines.Line:
    """In the format of `outthink replay`, and what else is needed here."""
    samples = [_sample(one, head) for one in (answer, *answer.others)]
    name = {"family": cell.family, "seed": cell.seed, "task": cell.family, "index": cell.number}
    return name | {"id": cell.problem().id, "cpu_seconds": seconds, "samples": samples}


def _sample(answer: Answer, head: str) -> lines.Line:
    told: lines.Line = {"final": answer.final, "text": answer.text, "tokens": answer.tokens}
    told |= {"logprob": round(answer.logprob or 0.0, 5)}
    told |= {"stats": {name: [round(v, 4) for v in values] for name, values in answer.stats.items()}}
    return told | ({"scores": {head: answer.score}} if head else {})
