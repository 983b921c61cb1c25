"""A model in this process: packed passes over a store of cache slots, rows reduced before anything leaves."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import torch

from outthink.backends.threads import Watch
from outthink.core.about import About
from outthink.core.batch import Batch, Move, Segment
from outthink.core.errors import BadInput, CannotDo, Misuse
from outthink.core.jobs import Draw, Drawn, Inbox, Job, PassJob, PassResult, Variant
from outthink.core.receipt import Cost
from outthink.core.types import Can
from outthink.decode.sample import draw
from outthink.decode.statistics import read, read_states

STEP_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)  # sizes of pass that are timed
STEP_TRIALS, STEP_SECONDS = 5, 0.25  # all of them so often, but no longer


class Store(Protocol):
    """Cache tensors by slot."""

    slots: int

    def move(self, moves: Sequence[Move]) -> None: ...

    def grow(self, slots: int) -> None: ...


class RowModel(Protocol):
    """Anything that turns packed rows into logits; writes each row's cache into its slot."""

    def new_store(self, slots: int) -> Any: ...

    def forward(self, batch: Batch, store: Any) -> torch.Tensor: ...

    def states(self, batch: Batch, store: Any) -> torch.Tensor:
        """The outputs of the last norm [len(wanted), width] instead of logits."""
        ...


class LocalBackend:
    """Runs `PassJob`s on a RowModel. One pass a step."""

    can = Can.LOCAL
    is_remote = False
    runs_on = True  # whether a job may have several steps

    def __init__(self, model: RowModel, tokenizer: Any, about: About) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.about = about
        self.store = model.new_store(0)
        self.kind = "float64 cpu"
        self.dtype = "float64"
        self.is_deterministic = (
            False  # whether it was asked, and checked, that rows keep their bits in company
        )
        self.draw: Callable[[torch.Tensor, Sequence[Draw]], list[Drawn]] = (
            draw  # a test may enumerate instead
        )
        self.watch: Watch | None = None  # set where the number of threads is ours to choose
        self.notes: list[str] = []  # what a receipt should say
        self.moves_are_dear = False  # whether a tail had better go on elsewhere than be moved as a whole
        self._variants: dict[Variant, RowModel] = {}
        self._kept: deque[torch.Tensor] = deque()  # rows of logits
        self._firsts: deque[int] = deque()  # the number of the first row of each
        self._ends: deque[int] = deque()  # and the one after its last
        self._queue: deque[tuple[PassJob, Inbox]] = deque()
        self._tree = 0  # the number of the tree whose cache this holds

    @property
    def machine(self) -> str:
        """Type, device and threads: what the last bits may depend on."""
        return f"{self.kind}, {self.threads} threads"

    @property
    def clock(self) -> Callable[[], float]:
        """Seconds of a pass. On a CPU of the thread that runs it, which others' work does not lengthen."""
        return time.thread_time if self.kind.split(",")[0].endswith(" cpu") else time.perf_counter

    @property
    def threads(self) -> int:
        """Those of a pass: of the model's own pool, or torch's."""
        return getattr(self.model, "threads", 0) or torch.get_num_threads()

    @threads.setter
    def threads(self, count: int) -> None:
        if getattr(self.model, "threads", 0):
            self.model.threads = count  # type: ignore[attr-defined]
        else:
            torch.set_num_threads(count)

    def submit(self, jobs: Sequence[Job], inbox: Inbox) -> None:
        for job in jobs:
            if not isinstance(job, PassJob):
                raise BadInput("a local model takes passes; generation is the engine's")
            if job.tree > self._tree:
                self._take_over(job.tree)
            self._queue.append((job, inbox))

    def step(self) -> bool:
        if not self._queue:
            return False
        job, inbox = self._queue.popleft()
        try:
            inbox.put(job, self._run(job))
        except Exception as error:  # delivered to whoever waits for the job
            inbox.put(job, error)
        return True

    def again(
        self, tree: int, numbers: Sequence[int], draw: Draw, told: list[int], ends: bytes
    ) -> list[Drawn]:
        """Draw at once from the kept rows of logits of these numbers, each a position on from the one before.

        The first token that is not the one of `told`, or has `ends[token]`, is the last. None are drawn where
        another tree has taken over.
        """
        if tree != self._tree:
            return []
        along = getattr(self.draw, "along", None)  # all in one call, where a way to draw has that
        if along is not None:
            found: list[Drawn] | None = along([*map(self._kept_at, numbers)], draw, told, ends)
            if found is not None:
                return found
        drawn: list[Drawn] = []
        for i, (number, expected) in enumerate(zip(numbers, told, strict=True)):
            drawn += self.draw(self._kept_row(number), [draw._replace(position=draw.position + i)])
            if drawn[-1].token != expected or ends[drawn[-1].token]:
                break
        return drawn

    def cancel(self, jobs: Sequence[Job]) -> None:
        gone = set(map(id, jobs))
        self._queue = deque(entry for entry in self._queue if id(entry[0]) not in gone)

    def price(self, job: Job) -> Cost:
        """The cost of one pass: rows at their positions, weights once, each visible segment of cache once."""
        assert isinstance(job, PassJob)
        batch, prices = job.batch, self.about.prices
        context = sum(batch.positions) + len(batch)
        share = 1.0 if job.variant is None else self.share(job.variant)
        slots, steps, rows = sum([s.length for s in batch.segments]), job.steps, len(batch)
        grown = rows * steps * (steps - 1) // 2  # every step, each row sees a slot more
        weights = getattr(self._variants.get(job.variant), "weight_bytes", None) if job.variant else None
        if weights is None:
            weights = share * prices.weight_bytes
        flops = (
            share * steps * rows * prices.flops_row
            + steps * len(batch.wanted) * prices.flops_head * (not job.is_hidden)
            + share * (steps * context + grown) * prices.flops_context
        )
        moved = steps * weights + share * prices.slot_bytes * (steps * slots + grown)
        return Cost(positions=steps * rows, passes=steps, flops=flops, bytes=moved)

    def variant(self, variant: Variant) -> RowModel:
        """A variant of the model that reads the same cache. Raises CannotDo where there is none."""
        if variant not in self._variants:
            make = getattr(self.model, "variant", None)
            if make is None:
                raise CannotDo(f"{self.about.name} has no variants here: draft with another drafter")
            self._variants[variant] = make(variant)
        return self._variants[variant]

    def share(self, variant: Variant) -> float:
        """Which part of a pass's work a variant does: its layers. Operations count alike in 8 bits."""
        return 1.0 if variant.layers is None else len(variant.layers) / max(1, self.about.layers)

    @torch.inference_mode()
    def step_times(self) -> dict[int, float]:
        """Seconds of a forward of 1, 2, 4 ... 128 rows, each of a text of its own; on a cache of its own."""
        store = self.model.new_store(0)
        store.grow(STEP_ROWS[-1])
        batches = {rows: _apart(rows) for rows in STEP_ROWS}
        runs = {rows: partial(self.model.forward, b, store) for rows, b in batches.items()}
        return _fastest(runs, self.clock)

    @torch.inference_mode()
    def _run(self, job: PassJob) -> PassResult:
        began = time.perf_counter()
        if 0 < job.tree < self._tree:
            raise Misuse("another engine has run on this backend since, and has its cache: give each its own")
        need = max([s.start + s.length for s in job.batch.segments], default=0) + job.steps - 1
        if need > self.store.slots:
            self.store.grow(need)
        for moves in job.moves:
            self.store.move(moves)
        if job.steps > 1:
            return self._run_on(job)
        if job.is_hidden:
            states = _waited(self.model.states(job.batch, self.store))
            seconds = time.perf_counter() - began
            return PassResult([], read_states(states, job.reads), seconds)
        # all draws may be of kept rows
        model = self.model if job.variant is None else self.variant(job.variant)
        new = _waited(model.forward(job.batch, self.store)) if job.batch.tokens else None
        logits = new if new is not None and job.variant is not None else self._beside_kept(job, new)
        seconds = time.perf_counter() - began
        if self.watch is not None and self.watch.passed(len(job.batch), seconds):
            self.notes.append("passes became many times slower with several threads: one is used from now on")
        drawn = self.draw(logits, job.draws) if job.draws else []
        dists = getattr(self.draw, "read", read)(logits, job.reads) if job.reads else []
        return PassResult(drawn, dists, seconds, state_bytes=getattr(model, "state_bytes", 0.0))

    def _take_over(self, tree: int) -> None:
        """From now on the cache is that tree's; what an earlier one still waits for is never done."""
        self._tree = tree
        self._kept.clear()
        self._firsts.clear()
        self._ends.clear()
        self._queue.clear()

    def _run_on(self, job: PassJob) -> PassResult:
        """Several steps in one job."""
        began, asked = time.perf_counter(), job.steps
        run_on = getattr(self.draw, "run_on", None)  # all steps in one call, where a way to draw has that
        found = run_on(job, self.store) if run_on is not None else None
        logits, steps, drawing = found or self._step_by_step(job)
        job.steps = len(steps)
        seconds = time.perf_counter() - began - drawing
        if self.watch is not None and self.watch.passed(len(job.batch), seconds / job.steps):
            self.notes.append("passes became many times slower with several threads: one is used from now on")
        if job.keep:  # of memory for more steps, only what was written
            self._keep(job.keep, logits.clone() if 2 * len(steps) < asked else logits)
        return PassResult(steps[-1], [], seconds, steps[:-1])

    def _step_by_step(self, job: PassJob) -> tuple[torch.Tensor, list[list[Drawn]], float]:
        """(Logits, what each step drew, seconds of the draws)."""
        batch, draws, steps, logits, drawing = job.batch, job.draws, [], [], 0.0
        while True:
            logits.append(_waited(self.model.forward(batch, self.store)))
            began = time.perf_counter()
            steps.append(self.draw(logits[-1], draws))
            drawing += time.perf_counter() - began
            tokens: dict[int, int] = {}  # by row
            parts = False
            for one, drawn in zip(draws, steps[-1], strict=True):
                parts |= tokens.setdefault(one.row, drawn.token) != drawn.token
            if len(steps) == job.steps or parts or any(job.ends[token] for token in tokens.values()):
                return torch.cat(logits), steps, drawing
            batch = batch.after(list(tokens.values()))
            draws = [d._replace(position=d.position + 1) for d in draws]

    def _beside_kept(self, job: PassJob, logits: torch.Tensor | None) -> torch.Tensor:
        """Put reused rows of logits after the new ones, and keep the new ones."""
        parts = [] if logits is None else [logits]
        if job.reuse:
            parts += [self._kept_row(number) for number in job.reuse]
        if job.keep and logits is not None and job.batch.wanted:
            self._keep(job.keep, logits)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _keep(self, number: int, logits: torch.Tensor) -> None:
        """Rows of logits, numbered from there on, until so many others have come. They are held, not copied:
        every pass makes its own."""
        self._kept.append(logits)
        self._firsts.append(number)
        self._ends.append(number + logits.shape[0])
        while self._ends[0] <= self._ends[-1] - self.about.kept_rows:
            for held in (self._kept, self._firsts, self._ends):
                held.popleft()

    def _kept_row(self, number: int) -> torch.Tensor:
        """[1, vocab]: the kept row of a number."""
        logits, row = self._kept_at(number)
        return logits[row : row + 1]

    def _kept_at(self, number: int) -> tuple[torch.Tensor, int]:
        """The rows of logits among which that of a number is, and which of them it is."""
        at = bisect_right(self._firsts, number) - 1
        logits, row = self._kept[at], number - self._firsts[at]
        assert row >= 0 and number < self._ends[at], "a row is reused that was not kept"
        return logits, row


def _waited(found: torch.Tensor) -> torch.Tensor:
    """What a pass returned, once it is there: CUDA returns from a call before the device has computed."""
    if found.is_cuda:
        torch.cuda.synchronize(found.device)
    return found


def _apart(rows: int) -> Batch:
    """So many rows, each the first token of a text."""
    indices = list(range(rows))
    zeros, ones = [0] * rows, [1] * rows
    return Batch(zeros, list(zeros), indices, indices, ones, indices, [Segment(-1, i, 1) for i in indices])


def _fastest(runs: Mapping[int, Callable[[], torch.Tensor]], clock: Callable[[], float]) -> dict[int, float]:
    """The least time of each, all taking turns: who else is busy for a while slows down no single one."""
    best = dict.fromkeys(runs, float("inf"))
    until = time.perf_counter() + STEP_SECONDS
    for trial in range(1 + STEP_TRIALS):  # the first warms up
        for rows, run in runs.items():
            for _ in range(2):  # the second finds the weights where it left them, as decode steps do
                began = clock()
                _waited(run())
                best[rows] = min(best[rows], clock() - began)
        if trial and time.perf_counter() > until:
            break
    return best
