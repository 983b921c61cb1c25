"""Run a plan on an engine: all pairs at once, each answer written down as it arrives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from outthink.bench.interrupts import Interrupts
from outthink.bench.plan import Pair, seed_of
from outthink.bench.results import Record, Results
from outthink.core.errors import CacheFull, PromptTooLong
from outthink.core.problem import Problem, Task
from outthink.core.receipt import Cost
from outthink.core.types import Answer

if TYPE_CHECKING:
    from outthink.engine.engine import Engine
    from outthink.engine.request import Request

CONCURRENCY = 32
OWN_FAULT = (PromptTooLong, CacheFull)  # errors of one problem, not of the run: they count as wrong answers


class Asked(NamedTuple):
    """What a request of a run was for."""

    pair: Pair
    task: Task
    problem: Problem


def run(
    engine: Engine,
    results: Results,
    concurrency: int = CONCURRENCY,
    listen: Callable[[Record], None] = lambda record: None,
    keep_samples: bool = False,
) -> list[Record]:
    """Solve every pair that the results lack; all records in the order of the plan.

    KeyboardInterrupt leaves every record so far in the file; `listen` hears of each as it is written.
    With `keep_samples`, a record also has every sample behind its answer, for replay.
    """
    with Interrupts() as interrupts:
        for done in engine.map(_requests(results), concurrency=concurrency):
            with interrupts.held():
                record = _record(done.request, done.answer, done.error)
                if keep_samples and done.answer is not None:
                    record["samples"] = [_sample(one) for one in (done.answer, *done.answer.others)]
                results.append(record)
                listen(record)
    return results.finish()


def _requests(results: Results) -> Iterator[Request]:
    """A request for each pair that is still to do."""
    from outthink.engine.request import Request  # here, so that reading results needs no engine

    plan = results.plan
    for pair, task, strategy in plan.pairs():
        if pair in results.records:
            continue
        problem = task.problem("test", pair.index)
        seed = seed_of(plan.seed, problem, pair)
        asked = Asked(pair, task, problem)
        yield Request(
            strategy,
            problem,
            plan.budget,
            seed,
            plan.sampling,
            tag=asked,
            config=pair.strategy,
            salt=pair.strategy,  # each pays for its own: with the same seed they write the same samples
        )


def _record(request: Request, answer: Answer | None, error: BaseException | None) -> Record:
    """The record of a finished request. An error that is not the problem's own ends the run."""
    if error is not None and not isinstance(error, OWN_FAULT):
        raise error
    asked: Asked = request.tag
    final = answer.final if answer else None
    pair = asked.pair
    head: Record = {"task": pair.task, "strategy": pair.strategy, "index": pair.index}
    head |= {"id": asked.problem.id, "seed": request.seed}
    head |= {"final": final, "correct": answer is not None and asked.task.check(asked.problem, final)}
    return head | _told(answer) | {"error": None if error is None else str(error)}


def _told(answer: Answer | None) -> Record:
    """What the answer and its receipt say."""
    receipt = answer.receipt if answer else None
    logical, actual = (receipt.logical, receipt.actual) if receipt else (Cost(), Cost())
    return {
        "text": answer.text if answer else "",
        "score": answer.score if answer else None,
        "finish": finish_of(answer) if answer else "error",
        "tokens": answer.tokens if answer else 0,
        "receipt": {"logical": logical.as_dict(), "actual": actual.as_dict()},
    }


def _sample(answer: Answer) -> Record:
    """One sample behind an answer, for replay."""
    told = {"final": answer.final, "text": answer.text, "tokens": answer.tokens, "logprob": answer.logprob}
    return told | ({"stats": answer.stats} if answer.stats else {})


def finish_of(answer: Answer) -> str:
    """How an answer ended: what cut it short if anything did, else how its text ended."""
    cut = answer.receipt.finish if answer.receipt else "done"
    return cut if cut != "done" else answer.finish or cut
