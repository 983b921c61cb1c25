"""Engines on a Ray cluster, asked as if they were one.

    driver   takes requests, keeps the journal, sends each to the worker that has the least in work
    worker   an actor with an engine of its own (`solver`), on a model or on endpoints

A request's answer follows from its seed alone, so it does not matter which worker has it, or when. The
requests of a worker that dies go to others; one that was in work at DEATHS deaths is given up: it may be the
cause.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from outthink.bench.solver import Outcome, Solver, Trouble
from outthink.core.errors import BadInput, OutthinkError
from outthink.engine.engine import Done

if TYPE_CHECKING:
    from outthink.engine.engine import Engine
    from outthink.engine.request import Request

DEATHS = 3
LISTEN = 0.5  # seconds in Ray at a time, so that Ctrl-C acts
THREADS = 1000  # calls that a worker may have open; the engine decides what it does at a time


class WorkerLost(OutthinkError, RuntimeError):
    """A worker of the cluster died under a request, again and again."""


def need_ray() -> Any:
    """Ray, or BadInput before anything is begun."""
    try:
        import ray
    except ImportError:
        raise BadInput("--cluster ray needs Ray: pip install 'outthink[ray]'") from None
    return ray


class Worker:
    """What runs on the cluster. Made at once; `open` loads, and says what went wrong."""

    def __init__(self, load: Callable[[], Engine], folder: str) -> None:
        self._load, self._folder = load, folder
        self._solver: Solver | None = None

    def open(self) -> Trouble | None:
        """Load the engine, in the driver's folder where this machine has it: paths may be relative."""
        if os.path.isdir(self._folder):
            os.chdir(self._folder)
        try:
            self._solver = Solver(self._load)
        except Exception as error:
            return Trouble.of(error)
        return None

    def solve(self, request: Request) -> Outcome:
        """Run a request beside others."""
        assert self._solver is not None
        return self._solver.solve(request)


@dataclass(eq=False)
class Hand:
    """A worker as the driver sees it."""

    actor: Any
    at_work: int = 0


@dataclass(eq=False)
class Flight:
    """A request on its way."""

    request: Request
    deaths: int = 0
    hand: Hand | None = None


@dataclass
class RayCluster:
    """`workers` engines that `load` makes, each with so many cores (and a GPU, for `gpu`); 0: one a node.

    Ray's own settings say which cluster: RAY_ADDRESS, else one that runs on this machine, else one of this
    process. `again` hears of every request that is begun once more. Raises BadInput without Ray, and where
    the cluster has no room.
    """

    load: Callable[[], Engine]
    workers: int = 0
    cores: int = 1
    gpu: bool = False
    again: Callable[[Request], None] = lambda request: None
    _hands: list[Hand] = field(default_factory=list, init=False)  # those that are ready
    _loading: dict[Any, Hand] = field(default_factory=dict, init=False)
    _flying: dict[Any, Flight] = field(default_factory=dict, init=False)
    _lost: deque[Flight] = field(default_factory=deque, init=False)  # to be sent again
    _stillborn: int = field(default=0, init=False)  # workers that died as they loaded, in a row

    def __post_init__(self) -> None:
        self._ray = need_ray()
        self._is_ours = not self._ray.is_initialized()
        if self._is_ours:
            self._join()
        try:
            self._check_room()
            for _ in range(self.workers):
                self._hire()
        except BaseException:
            self.close()
            raise

    def map(self, requests: Iterable[Request], concurrency: int = 32) -> Iterator[Done]:
        """Run many at once, so many in all; results as they end, the next begun when one is taken."""
        source = iter(requests)
        try:
            while True:
                self._fill(source, concurrency)
                if self._hands and not self._flying:
                    return
                for ref in self._landed():
                    done = self._take(ref)
                    if done is not None:
                        yield done
        finally:
            self._flying.clear()
            self._lost.clear()

    def close(self) -> None:
        """Let the workers go, and what runs on them."""
        for hand in (*self._hands, *self._loading.values()):
            self._ray.kill(hand.actor)
        self._hands.clear()
        self._loading.clear()
        self._flying.clear()
        if self._is_ours:
            self._ray.shutdown()

    # ---- workers

    def _join(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            self._ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        except Exception as error:
            where = os.environ.get("RAY_ADDRESS", "this machine")
            raise BadInput(f"there is no Ray cluster at {where} (RAY_ADDRESS): {_line(error)}") from error

    def _check_room(self) -> None:
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        self.workers = self.workers or len(nodes)
        room = sum(min(_fits(n, "CPU", self.cores), _fits(n, "GPU", int(self.gpu))) for n in nodes)
        if self.workers > room:
            each = f"{self.cores} core(s)" + (" and a GPU" if self.gpu else "")
            raise BadInput(
                f"the cluster has room for {room} workers of {each}, not {self.workers}: give fewer with "
                "--workers, or fewer cores with --threads"
            )

    def _hire(self) -> None:
        """One more worker; it is asked once it has loaded."""
        actor = (
            self._ray.remote(Worker)
            .options(
                num_cpus=self.cores,
                num_gpus=int(self.gpu),
                max_concurrency=THREADS,
                scheduling_strategy="SPREAD",
            )
            .remote(self.load, os.getcwd())
        )
        hand = Hand(actor)
        self._loading[actor.open.remote()] = hand

    def _loaded(self, ref: Any) -> None:
        """A worker has loaded, or could not."""
        hand = self._loading.pop(ref)
        try:
            trouble: Trouble | None = self._ray.get(ref)
        except self._ray.exceptions.RayActorError as error:
            self._stillborn += 1
            if self._stillborn >= DEATHS:
                raise WorkerLost(f"{DEATHS} workers died as they loaded the model: {_line(error)}") from None
            self._hire()
            return
        if trouble is not None:
            raise trouble.error()
        self._stillborn = 0
        self._hands.append(hand)

    def _bury(self, hand: Hand) -> None:
        """A worker has died: another takes its place."""
        if hand in self._hands:
            self._hands.remove(hand)
            self._ray.kill(hand.actor)  # if it is only out of reach, it is to work for nobody
            self._hire()

    # ---- requests

    def _fill(self, source: Iterator[Request], concurrency: int) -> None:
        """Have as many in work as may be, and no more of them on a worker than its share."""
        share = -(-concurrency // self.workers)
        while self._hands and len(self._flying) < concurrency:
            hand = min(self._hands, key=lambda h: h.at_work)
            if hand.at_work >= share:
                return  # others are still loading
            if self._lost:
                flight = self._lost.popleft()
                self.again(flight.request)
            else:
                taken = list(islice(source, 1))
                if not taken:
                    return
                flight = Flight(taken[0])
            flight.hand = hand
            hand.at_work += 1
            self._flying[hand.actor.solve.remote(flight.request)] = flight

    def _landed(self) -> list[Any]:
        """Results that are there; workers that are ready are taken in."""
        ended, _ = self._ray.wait([*self._flying, *self._loading], num_returns=1, timeout=LISTEN)
        for ref in [ref for ref in ended if ref in self._loading]:
            self._loaded(ref)
        return [ref for ref in ended if ref in self._flying]

    def _take(self, ref: Any) -> Done | None:
        """The end of a request; None if its worker died and it is to be begun again."""
        flight = self._flying.pop(ref)
        assert flight.hand is not None
        flight.hand.at_work -= 1
        try:
            answer, trouble = self._ray.get(ref)
        except self._ray.exceptions.RayActorError as error:
            self._bury(flight.hand)
            return self._once_more(flight, error)
        return Done(flight.request, answer, None if trouble is None else trouble.error())

    def _once_more(self, flight: Flight, error: Exception) -> Done | None:
        flight.deaths += 1
        if flight.deaths < DEATHS:
            self._lost.append(flight)
            return None
        why = f"the worker died {DEATHS} times while this was in work: {_line(error)}"
        return Done(flight.request, None, WorkerLost(why))


def _fits(resources: dict[str, float], what: str, each: int) -> int:
    """How many times a node has so much."""
    return int(resources.get(what, 0.0)) // each if each else 1_000_000


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
