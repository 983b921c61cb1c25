"""A model in this process: packed passes over a store of cache slots, rows reduced before anything leaves."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import torch

from outthink.backends.threads import Watch
from outthink.core.about import About
from outthink.core.batch import Batch, Move, Segment
from outthink.core.errors import BadInput, CannotDo
from outthink.core.jobs import Draw, Drawn, Inbox, Job, PassJob, PassResult, Variant
from outthink.core.types import Can, Cost
from outthink.decode.sample import draw
from outthink.decode.statistics import read, read_states

STEP_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)  # sizes of pass that are timed
STEP_TRIALS, STEP_SECONDS = 5, 0.05  # of each: so often, but no longer


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

    def __init__(self, model: RowModel, tokenizer: Any, about: About) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.about = about
        self.store = model.new_store(0)
        self.kind = "float64 cpu"
        self.draw: Callable[[torch.Tensor, Sequence[Draw]], list[Drawn]] = (
            draw  # a test may enumerate instead
        )
        self.watch: Watch | None = None  # set where the number of threads is ours to choose
        self.notes: list[str] = []  # what a receipt should say
        self.moves_are_dear = False  # whether a tail had better go on elsewhere than be moved as a whole
        self._variants: dict[Variant, RowModel] = {}
        self._ring: torch.Tensor | None = None
        self._queue: deque[tuple[PassJob, Inbox]] = deque()

    @property
    def machine(self) -> str:
        """Type, device and threads: what the last bits may depend on."""
        return f"{self.kind}, {self.threads} threads"

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

    def cancel(self, jobs: Sequence[Job]) -> None:
        gone = set(map(id, jobs))
        self._queue = deque(entry for entry in self._queue if id(entry[0]) not in gone)

    def price(self, job: Job) -> Cost:
        """The cost of one pass: rows at their positions, weights once, each visible segment of cache once."""
        assert isinstance(job, PassJob)
        batch, prices = job.batch, self.about.prices
        context = sum(batch.positions) + len(batch)
        share = 1.0 if job.variant is None else self.share(job.variant)
        flops = (
            share * len(batch) * prices.flops_row
            + len(batch.wanted) * prices.flops_head * (not job.is_hidden)
            + share * context * prices.flops_context
        )
        moved = share * (prices.weight_bytes + prices.slot_bytes * sum(s.length for s in batch.segments))
        return Cost(positions=len(batch), passes=1, flops=flops, bytes=moved)

    def variant(self, variant: Variant) -> RowModel:
        """A variant of the model that reads the same cache. Raises CannotDo where there is none."""
        if variant not in self._variants:
            make = getattr(self.model, "variant", None)
            if make is None:
                raise CannotDo(f"{self.about.name} has no variants here: draft with another drafter")
            self._variants[variant] = make(variant)
        return self._variants[variant]

    def share(self, variant: Variant) -> float:
        """Which part of a pass's work a variant does: its layers; a byte instead of two counts by half."""
        layers = 1.0 if variant.layers is None else len(variant.layers) / max(1, self.about.layers)
        return layers * (0.5 if variant.is_int8 else 1.0)

    @torch.inference_mode()
    def step_times(self) -> dict[int, float]:
        """Seconds of a forward of 1, 2, 4 ... 128 rows, each of a text of its own; on a cache of its own."""
        store = self.model.new_store(0)
        store.grow(STEP_ROWS[-1])
        batches = {rows: _apart(rows) for rows in STEP_ROWS}
        return {rows: _fastest(partial(self.model.forward, b, store)) for rows, b in batches.items()}

    @torch.inference_mode()
    def _run(self, job: PassJob) -> PassResult:
        began = time.perf_counter()
        need = max((s.start + s.length for s in job.batch.segments), default=0)
        if need > self.store.slots:
            self.store.grow(need)
        for moves in job.moves:
            self.store.move(moves)
        if job.is_hidden:
            states = self.model.states(job.batch, self.store)
            seconds = time.perf_counter() - began
            return PassResult([], read_states(states, job.reads), seconds)
        # all draws may be of kept rows
        model = self.model if job.variant is None else self.variant(job.variant)
        new = model.forward(job.batch, self.store) if job.batch.tokens else None
        logits = new if new is not None and job.variant is not None else self._beside_kept(job, new)
        seconds = time.perf_counter() - began
        if self.watch is not None and self.watch.passed(len(job.batch), seconds):
            self.notes.append("passes became many times slower with several threads: one is used from now on")
        drawn = self.draw(logits, job.draws) if job.draws else []
        return PassResult(drawn, read(logits, job.reads), seconds)

    def _beside_kept(self, job: PassJob, logits: torch.Tensor | None) -> torch.Tensor:
        """Put reused rows of logits after the new ones, and keep the new ones: row `number` of a ring."""
        ring = self._ring
        if logits is None:
            assert ring is not None, "rows are reused that were never kept"
            logits = ring[:0]
        if ring is None or ring.dtype != logits.dtype:
            ring = self._ring = logits.new_empty(self.about.kept_rows, self.about.vocab)
        wanted = len(job.batch.wanted)
        reused = [number % len(ring) for number in job.reuse]
        both = torch.cat([logits, ring[reused]]) if reused else logits
        if job.keep and wanted:
            first = job.keep % len(ring)
            until = min(first + wanted, len(ring))
            _copy(ring, first, logits[: until - first])
            if until - first < wanted:
                _copy(ring, 0, logits[until - first :])
        return both


def _copy(ring: torch.Tensor, first: int, rows: torch.Tensor) -> None:
    """Rows into a ring; on a CPU by numpy, whose calls cost less."""
    if ring.device.type == "cpu" and ring.dtype != torch.bfloat16:
        ring.numpy()[first : first + len(rows)] = rows.numpy()
    else:
        ring[first : first + len(rows)] = rows


def _apart(rows: int) -> Batch:
    """So many rows, each the first token of a text."""
    indices = list(range(rows))
    zeros, ones = [0] * rows, [1] * rows
    return Batch(zeros, list(zeros), indices, indices, ones, indices, [Segment(-1, i, 1) for i in indices])


def _fastest(run: Callable[[], Any]) -> float:
    """The least time of a few runs."""
    run()
    best, spent = float("inf"), 0.0
    for _ in range(STEP_TRIALS):
        began = time.perf_counter()
        run()
        seconds = time.perf_counter() - began
        best, spent = min(best, seconds), spent + seconds
        if spent > STEP_SECONDS:
            break
    return best
