"""Metropolis-Hastings over whole texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from outthink.core.branch import Branch
from outthink.core.protocols import Verifier
from outthink.core.tasks import gather
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._moves import Regrow
from outthink.strategy._potentials import Potential
from outthink.strategy._smc import Entry, check_pick, choose
from outthink.strategy._writing import Particle, Writer, check_step, report


@dataclass(frozen=True)
class Metropolis:
    """n Markov chains of `moves` moves each, whose stationary distribution is p(x) psi(x) / Z.

        x ~ p;  repeat: k ~ uniform over the K steps of x;  x' = x before step k, written anew from there
                x <- x' with probability min(1, psi(x') K / (psi(x) K'))

    Every state after the start that weighs something votes; with `pick="draw"` the answer is the last state
    of the first chain, if that weighs something. If nothing was found that does, the answer is empty, its
    finish "dead: ...". Estimates: moved (the share of moves that were made).

    Metropolis et al., "Equation of State Calculations by Fast Computing Machines"; the proposal is the
    model's own, as in lightweight Metropolis-Hastings for probabilistic programs (Wingate et al.).
    """

    verifier: Verifier
    n: int = 4
    moves: int = 8
    over: str = "value"
    scale: str = "reward"
    floor: float = 0.0
    pick: str = "vote"
    step: str = "\n"
    tokens: int | None = None

    needs = Can.GENERATE | Can.REWIND
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        self._potential()
        check_pick(self.pick)
        check_step(self.step, self.tokens)
        if self.n < 1 or self.moves < 1:
            raise ValueError(f"n={self.n}, moves={self.moves}: give at least 1")

    def _potential(self) -> Potential:
        return Potential(self.verifier, self.over, self.scale, self.floor)

    async def __call__(self, root: Branch, /) -> Answer:
        root.record(*self.verifier.records)
        writer, potential = Writer.on(root, self.step, self.tokens), self._potential()
        seat, *branches = root.fork(1 + self.n)
        chains = [Particle(b) for b in branches]
        await gather(*(writer.whole(chain) for chain in chains))
        report(seat, chains)
        for chain, logpsi in zip(chains, await potential(chains), strict=True):
            chain.logpsi = logpsi
        seen = states(chains)
        if seen:
            root.offer(choose(seen, "best", seat.chance("pick"), 0), rank=0)
        return await self._walk(root, seat, chains, Regrow(writer, potential))

    async def _walk(self, root: Branch, seat: Branch, chains: Sequence[Particle], regrow: Regrow) -> Answer:
        """All moves; what the states so far say is offered after each."""
        seen: list[Entry] = []
        answer, moved = Answer(""), 0
        for k in range(1, self.moves + 1):
            moved += await regrow(chains, math.inf, seat)
            seen += states(chains)
            voters = states(chains[:1]) if self.pick == "draw" else seen
            answer = choose(voters, self.pick, seat.chance("pick"), k)
            answer = replace(answer, estimates={"moved": moved / (k * len(chains))})
            if voters:
                root.offer(answer, rank=k)
        return answer


def states(chains: Sequence[Particle]) -> list[Entry]:
    """Where the chains are, each with the same weight; one whose text weighs nothing has no state yet.

    The branches go on, so that the answers are texts alone.
    """
    return [Entry(replace(c.answer(), branch=None), 0.0, c.logpsi) for c in chains if c.logpsi > -math.inf]
