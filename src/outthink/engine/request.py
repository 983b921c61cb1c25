"""A request, and its run: the answer under construction, with its books."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

from outthink.core import rng
from outthink.core.branch import Branch
from outthink.core.drafting import AcceptRule, Drafter
from outthink.core.errors import BadInput
from outthink.core.ledger import Distinct, Scope
from outthink.core.needs import needs_of
from outthink.core.problem import Problem
from outthink.core.protocols import Strategy
from outthink.core.receipt import Cost, Degradation, Receipt
from outthink.core.tasks import current, running
from outthink.core.tree import Cursor
from outthink.core.types import Answer, Budget, Sampling
from outthink.core.work import Offer, Pick, PickWork
from outthink.engine.picking import Picking
from outthink.engine.speculator import Speculator
from outthink.engine.trace import Trace
from outthink.text import final_answer

if TYPE_CHECKING:
    from outthink.core.tasks import Task
    from outthink.engine.engine import Engine
    from outthink.engine.place import Place
    from outthink.engine.remote import RemotePlace

MAX_BRANCHES = 4096
SPARE_BRANCHES = 32  # of these a search leaves so many, or a quarter, for what comes after it


@dataclass(frozen=True)
class Request:
    """What is asked of an engine. `config` and `seed` go on the receipt; `tag` is the caller's own."""

    strategy: Strategy
    problem: Problem | str
    budget: Budget = field(default_factory=Budget)
    seed: int = 0
    sampling: Sampling = field(default_factory=Sampling)
    tag: Any = None
    config: str = ""
    raw: bool = False  # give the prompt as it is, without the model's chat template
    tokens: tuple[int, ...] = ()  # the prompt as tokens, given as they are; the problem's text is for reading
    priority: int = 0  # the lower, the earlier: its work goes before all work of a higher number
    share: str = ""  # requests of one share take turns as one
    salt: str = ""  # requests of different salts find nothing of each other in the cache
    max_branches: int = MAX_BRANCHES  # live at one time
    speculate: Drafter | str | None = None  # who drafts; None: as the engine says, "none": nobody
    accept: AcceptRule | None = None  # None: match
    warm: bool | None = (
        None  # whether drafters go on from earlier requests of this share; None: as the engine
    )

    def __post_init__(self) -> None:
        strategy, problem = self.strategy, self.problem
        if isinstance(strategy, type):
            raise BadInput(f"{strategy.__name__} is a class: give {strategy.__name__}(...)")
        if not callable(strategy):
            raise BadInput(f"strategy={strategy!r}: give a strategy, such as ot.strategy.Vote(n=8)")
        if not isinstance(problem, str | Problem):
            raise BadInput(f"problem={problem!r}: give the question's text, or a Problem")
        kinds = {
            "budget": (Budget, "a Budget"),
            "sampling": (Sampling, "a Sampling"),
            "seed": (Integral, "an int"),
        }
        for name, (kind, said) in kinds.items():
            if not isinstance(getattr(self, name), kind):
                raise BadInput(f"{name}={getattr(self, name)!r}: give {said}")


class Tip(NamedTuple):
    """How far the tokens of a branch are counted: where that leads in the trie of the run, and the path of
    the branch then, which is another one after a rewind."""

    at: dict[int, Any]
    counted: int
    path: tuple[int, ...]
    is_own: bool = True  # whether on this branch itself, not before it was forked


class Run:
    """One request inside an engine."""

    def __init__(self, engine: Engine, request: Request, number: int) -> None:
        self.engine = engine
        self.request = request
        self.number = number
        self.problem = as_problem(request.problem)
        self.seed = request.seed
        self.salt = request.salt
        self.scope = Scope("run", None, request.budget.caps())
        self.began = engine.clock()
        if request.budget.seconds is not None:
            self.scope.deadline = self.began + request.budget.seconds
        self.live = 0
        self.root: Branch | None = None
        self.task: Task | None = None
        self.best: Offer | None = None
        self.partial: tuple[int, tuple[int, ...], str] | None = None
        self.distinct: dict[str, Distinct] = {}
        self.sure: dict[tuple[str, int], list[Sampling]] = {}  # by place and hash of a path: written at 0
        self.tips: dict[Branch, Tip] = {}  # how far each branch's tokens are counted
        self.degradations: dict[str, Degradation] = {}
        self.estimates: dict[str, str] = {}
        self.needs = needs_of(request.strategy)
        self.answer: Answer | None = None
        self.error: BaseException | None = None
        self.chances = engine.chances
        drafter = engine.speculate if request.speculate is None else request.speculate
        self.speculator: Speculator | None = None
        if drafter is not None and not isinstance(drafter, str):
            self.speculator = Speculator(self, drafter, request.accept or engine.accept)

    @property
    def is_done(self) -> bool:
        """Whether it has its answer, or the error that ended it."""
        return self.answer is not None or self.error is not None

    # ---- what branches see

    def place(self, model: str | None) -> Place | RemotePlace:
        return self.engine.place(model)

    def now(self) -> float:
        return self.engine.clock()

    def need_room(self, n: int) -> None:
        """Whether so many branches more may live; if not, end what asks for them.

        That is the search that keeps something back for its end, which needs branches too, or else the run,
        with the best answer so far. Raises BadInput where nothing is on offer yet, and for a number that
        would never fit.
        """
        most, task = self.request.max_branches, running()
        left = most - self.live - n
        if left >= SPARE_BRANCHES:
            return
        search = next((s for s in task.scope.chain() if s.keeps_back), None) if task else None
        if left >= (min(SPARE_BRANCHES, most // 4) if search and self.best else 0):
            return
        if task is None or self.best is None or n > most:
            raise BadInput(f"more than {most} live branches: ask for fewer, or close those no longer needed")
        raise self.engine.limits.crowded(search or self.scope, most)

    def born(self, branch: Branch) -> None:
        self.need_room(1)
        self.live += 1
        self.engine.trace.born(branch)

    def forked(self, child: Branch, parent: Branch) -> None:
        """What is counted of the parent's tokens is counted of the child's."""
        tip = self.tips.get(parent)
        if tip is not None and tip.path is parent.path:
            self.tips[child] = Tip(tip.at, tip.counted, child.path, False)

    def closed(self, branch: Branch, why: str) -> None:
        self.tips.pop(branch, None)
        self.engine.trace.closed(branch, why)

    def published(self, branch: Branch, length: int) -> None:
        self.engine.trace.published(branch, length)

    def offer(self, offer: Offer) -> None:
        """Keep the best: an outer call's beats an inner call's, then the higher rank, then the earlier
        path."""
        if self._is_better(*offer[:3]):
            self.best = offer
        self.engine.trace.offered(self, offer.answer)

    def stands(self, depth: int, rank: float, path: tuple[int, ...]) -> bool:
        """Whether such an offer would be the best, or is listened for."""
        return type(self.engine.trace).offered is not Trace.offered or self._is_better(depth, rank, path)

    def _is_better(self, depth: int, rank: float, path: tuple[int, ...]) -> bool:
        best = self.best
        return best is None or (depth, -rank, path) < (best.depth, -best.rank, best.path)

    def degrade(self, what: str, why: str) -> None:
        """Something is less than asked for: said once on the receipt."""
        if what not in self.degradations:
            self.degradations[what] = Degradation(what, why)
            self.engine.trace.warned(f"{what}: {why}")

    def writes_surely(self, branch: Branch, sampling: Sampling) -> None:
        """A branch writes at temperature 0: where one has from the same tokens, it is the same text again."""
        key = branch.place.name, hash(tuple(branch.place.tree.tokens(branch.cursor)))
        sampling = replace(sampling, max_tokens=None, stats=())  # these change nothing that is drawn
        if sampling in self.sure.setdefault(key, []):
            why = "at temperature 0 the same text was written again, whatever the seed; give a temperature, "
            self.degrade("sampling", why + "or ask for one sample")
        else:
            self.sure[key].append(sampling)

    def write_now(self, picks: Sequence[Pick]) -> list[bool]:
        """Write chosen tokens where nobody has to be asked first; nothing under a cap or in a race."""
        task = current()
        if task.contestant is not None or task.pending is not None or task.scope.capped():
            return []
        for branch, _ in picks:
            branch._check_open()
        picking = Picking(PickWork(picks), task, self)
        picking.write(self.engine.trace)
        picking.settle(None)
        return picking.ends

    def estimate(self, what: str, how: str) -> None:
        """A number of the receipt is not measured: said once."""
        self.estimates.setdefault(what, how)

    # ---- the logical book

    def demand(self, branch: Branch, length: int, cursor: Cursor | None = None) -> int:
        """How many of the first `length` tokens of a path this run had not asked for yet; they are the last
        of them.

        Each distinct token counts once a run, however often it is computed. `cursor` is for paths that leave
        the branch (a draft).
        """
        tip, fresh = self.tips.get(branch), 0
        if tip and tip.path is branch.path and tip.counted <= min(length, branch.cursor.length):
            at, counted = tip.at, tip.counted
        else:
            at, counted = self.distinct.setdefault(branch.place.name, Distinct()).root, 0
        if counted < length:
            tokens = branch.place.tree.tokens(cursor or branch.cursor, counted)[: length - counted]
            at, fresh = Distinct.walk(at, tokens)
        if cursor is None or cursor is branch.cursor:
            self.tips[branch] = Tip(at, length, branch.path)
        return fresh

    def pending(self, branch: Branch, length: int) -> int:
        """An upper bound of what `demand` would return; counts nothing."""
        tip = self.tips.get(branch)
        return length - tip.counted if tip and tip.is_own and tip.path is branch.path else length

    # ---- the end

    def note_partial(self, branch: Branch) -> None:
        """Remember a text that the budget cut, in case nothing better is offered: the longest, ties by
        path."""
        if branch.place.name == self.engine.main.name:
            entry = (-len(branch), branch.path, branch.text())
            self.partial = min(self.partial, entry) if self.partial else entry

    def fallback(self) -> Answer:
        """The answer when the budget has ended: the best offer, else the longest text, else nothing."""
        if self.best is not None:
            return self.best.answer
        text = self.partial[2] if self.partial else ""
        return Answer(
            text, final_answer(text).value, finish="budget", tokens=-self.partial[0] if self.partial else 0
        )

    def receipt(self, finish: str) -> Receipt:
        request, actual, drafting = self.request, self.scope.actual.copy(), self.speculator
        logical = self.scope.logical.copy()
        return Receipt(
            logical=logical,
            actual=actual,
            by_scope=self._by_scope(),
            finish=finish,
            wall=self.engine.clock() - self.began,
            config=request.config or repr(request.strategy),
            model=self.engine.main.name,
            machine=self.engine.main.backend.machine,
            deterministic=self._is_deterministic(),
            seed=request.seed,
            sampling=request.sampling,
            best_effort=self.engine.main.backend.is_remote,
            estimated=tuple(f"{what}: {how}" for what, how in self.estimates.items()),
            degradations=(*self.degradations.values(), *map(_note, self.engine.main.backend.notes)),
            speculation={} if drafting is None else drafting.books(),
            drawn_per_row=1.0 if drafting is None else drafting.tokens_a_step(logical.written),
        )

    def _is_deterministic(self) -> bool:
        """Whether every model that this run has read or written with was loaded so."""
        used = {self.engine.main.name, *self.distinct}
        return all(getattr(self.engine.place(name).backend, "is_deterministic", False) for name in used)

    def _by_scope(self) -> Mapping[str, Cost]:
        return self.scope.books()


def _note(text: str) -> Degradation:
    return Degradation("speed", text)


def as_problem(problem: Problem | str) -> Problem:
    return Problem(problem) if isinstance(problem, str) else problem


def root_key(seed: int, model: str) -> int:
    """The key of a run's root branch."""
    return rng.key(seed, model)
