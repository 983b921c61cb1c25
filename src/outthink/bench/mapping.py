"""Run a strategy over a dataset: every answer is in the journal before the next is begun in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from outthink.bench.dataset import Dataset, Line
from outthink.bench.interrupts import Interrupts
from outthink.bench.journal import Journal, Record, check_marks
from outthink.bench.runner import finish_of
from outthink.core.errors import CacheFull, CannotDo, Misuse, OutthinkError, PromptTooLong
from outthink.core.receipt import Cost
from outthink.core.rng import digest
from outthink.core.types import Answer, Budget, Sampling
from outthink.verify.exact import is_right

if TYPE_CHECKING:
    from outthink.bench.cluster import RayCluster
    from outthink.engine.engine import Engine
    from outthink.engine.request import Request

LASTING = (PromptTooLong, CacheFull)  # another run would not mend these
ENDING = (CannotDo, Misuse)  # these are not one problem's
IN_A_ROW = 8  # failures, and the run stops


class Counts(NamedTuple):
    """How far a map is."""

    lines: int
    done: int
    failed: int
    written: int
    dollars: float


@dataclass(frozen=True)
class Mapping:
    """What is asked of every problem."""

    strategy: Any
    config: str
    dataset: Dataset
    budget: Budget = field(default_factory=Budget)
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0

    def run(
        self,
        engine: Engine | RayCluster,
        journal: Journal,
        concurrency: int = 32,
        listen: Callable[[Counts], None] = lambda counts: None,
    ) -> Counts:
        """Answer every line that the journal lacks. Raises after IN_A_ROW failures without an answer."""
        lines = check_marks(journal, ((line.number, line.mark) for line in self.dataset), self.dataset.path)
        done, failed, in_a_row = len(journal.done()), 0, 0
        spent = Cost()
        with Interrupts() as interrupts:
            for one in engine.map(self._requests(journal), concurrency=concurrency):
                if isinstance(one.error, ENDING) or not isinstance(one.error, (OutthinkError, type(None))):
                    raise one.error
                is_final = one.error is None or isinstance(one.error, LASTING)
                with interrupts.held():
                    journal.end(
                        one.request.tag.number, record_of(one.request, one.answer, one.error), is_final
                    )
                if one.answer is not None and one.answer.receipt is not None:
                    spent.add(one.answer.receipt.actual)
                done, failed = done + is_final, failed + (not is_final)
                in_a_row = 0 if is_final else in_a_row + 1
                listen(Counts(lines, done, failed, spent.written, spent.dollars))
                if in_a_row >= IN_A_ROW and one.error is not None:
                    raise type(one.error)(f"{one.error} (stopped after {in_a_row} failures in a row)")
        return Counts(lines, done, failed, spent.written, spent.dollars)

    def _requests(self, journal: Journal) -> Iterator[Request]:
        """A request for each line that is to be done; it is in the journal as soon as it is taken."""
        from outthink.engine.request import Request

        done = journal.done()
        for line in self.dataset:
            if line.number in done:
                continue
            journal.begin(line.number, line.mark)
            seed = (
                digest("map", self.seed, line.number, line.mark) >> 12
            )  # 52 bits, which any JSON reader keeps
            yield Request(
                self.strategy, line.problem, self.budget, seed, self.sampling, tag=line, config=self.config
            )


def record_of(request: Request, answer: Answer | None, error: BaseException | None) -> Record:
    """What is kept of a problem."""
    line: Line = request.tag
    problem = line.problem
    head: Record = {"id": problem.id, "prompt": problem.prompt, "seed": request.seed}
    if answer is None or answer.receipt is None:
        return head | {"error": str(error), "text": "", "final": None}
    told = {"text": answer.text, "final": answer.final, "score": answer.score, "finish": finish_of(answer)}
    if problem.secret.reference:
        told["correct"] = is_right(problem, answer.final)
    return head | told | {"tokens": answer.tokens, "receipt": answer.receipt.as_dict(), "error": None}
