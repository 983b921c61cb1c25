"""The engine as a user has it: a request in, an answer with its receipt out."""

from __future__ import annotations

import outthink as ot
from benchmarks.contest import Work
from outthink.backends.local import LocalBackend
from outthink.engine.engine import Engine
from outthink.engine.place import Place
from outthink.engine.remote import RemotePlace
from outthink.engine.request import Request

COLD = 0.8  # this share of a prompt must have been evaluated: prompts of one task begin alike


class Ours:
    """outthink: `Vote` over `Once`, `Once` for one branch, `Greedy`."""

    name = "outthink"

    def __init__(self, engine: Engine, name: str = "outthink") -> None:
        self.engine, self.name = engine, name
        self.bytes = 0.0  # that receipts say were moved
        self.answers: list[ot.Answer] = []

    def write(self, work: Work) -> int:
        answer = self.engine.run(request(work))
        self.answers.append(answer)
        assert answer.receipt is not None
        spent = answer.receipt.actual
        self.bytes += spent.bytes
        if spent.positions < COLD * len(work.prompt.tokens) + (0 if work.stops else work.new - 1):
            raise AssertionError(f"{spent.positions} positions: the prompt was in the cache already")
        if not work.stops and spent.written != work.branches * work.new:
            raise AssertionError(f"{spent.written} tokens written, not {work.branches} x {work.new}")
        return spent.written


def local(place: Place | RemotePlace) -> LocalBackend:
    """A model of an engine, one that runs in this process."""
    assert isinstance(place.backend, LocalBackend), f"{place.name} is an endpoint"
    return place.backend


def request(work: Work) -> Request:
    """The work as a request."""
    sampling = ot.Sampling(temperature=0.8, max_tokens=work.new, ignore_eos=not work.stops)
    if work.greedy:
        strategy: ot.Strategy = ot.strategy.Greedy()
    else:
        strategy = ot.strategy.Vote(n=work.branches) if work.branches > 1 else ot.strategy.Once()
    return Request(strategy, work.prompt.text, seed=work.seed, sampling=sampling)
