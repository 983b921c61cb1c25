"""Particle Gibbs: sequential Monte Carlo again and again, each time given a text of the last."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from outthink.core.branch import Branch
from outthink.core.protocols import Verifier
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._conditional import Sweep, check_plain
from outthink.strategy._potentials import Potential
from outthink.strategy._smc import Entry, Filter, Population, Rule, check_pick, choose, entries
from outthink.strategy._writing import Particle, Writer, check_step


@dataclass(frozen=True)
class ParticleGibbs:
    """A Markov chain whose stationary distribution is p(x) psi(x) / Z for any number of particles.

        x ~ a run of `particles`, by weight
        repeat `sweeps` times: run again with x as one of the n (it cannot be lost); x ~ its last population

    With `ancestors`, each time that x is resampled the beginning of x is drawn anew, in proportion to
    w_i p(rest of x | x_i) psi(x_i, rest) / psi(x_i): the chain mixes with few particles, at the price of
    scoring the rest below every particle. Needs plain sampling (a temperature, no stops, no truncation).
    Resampling is multinomial. The last populations of all runs vote with equal weight; with `pick="draw"` the
    answer is the last x. Estimates: log_z (of the first run), renewed (the share of sweeps that changed x).

    Andrieu, Doucet and Holenstein, "Particle Markov chain Monte Carlo methods"; Lindsten, Jordan and Schoen,
    "Particle Gibbs with Ancestor Sampling".
    """

    verifier: Verifier
    n: int = 8
    sweeps: int = 4
    ancestors: bool = True
    over: str = "value"
    scale: str = "reward"
    floor: float = 0.0
    threshold: float = 0.5
    pick: str = "vote"
    step: str = "\n"
    tokens: int | None = None

    needs = Can.GENERATE | Can.SCORE | Can.REWIND
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        self._potential()
        Rule(self.n, "multinomial", self.threshold)
        check_pick(self.pick)
        check_step(self.step, self.tokens)
        if self.sweeps < 1 or self.n < 2:
            raise ValueError(f"n={self.n}, sweeps={self.sweeps}: give at least 2 particles and 1 sweep")

    def _potential(self) -> Potential:
        return Potential(self.verifier, self.over, self.scale, self.floor)

    async def __call__(self, root: Branch, /) -> Answer:
        if self.ancestors:
            check_plain(root.sampling)
        root.record(*self.verifier.records)
        writer, rule = Writer.on(root, self.step, self.tokens), Rule(self.n, "multinomial", self.threshold)
        first = await Filter(writer.all, self._potential(), rule, keep=True, seen=self._first(root)).run(root)
        if not first.particles:
            return replace(choose([], self.pick, root.chance("pick"), 0), estimates=first.estimates())
        return await self._chain(root, writer, rule, first)

    def _first(self, root: Branch) -> Callable[[Population], None]:
        """What the first run has so far is on offer, below what its whole population says."""

        def seen(population: Population) -> None:
            if found := entries(population.particles):
                answer = choose(found, self.pick, root.chance("first"), population.num_steps)
                root.offer(answer, rank=-1 / population.num_steps)

        return seen

    async def _chain(self, root: Branch, writer: Writer, rule: Rule, first: Population) -> Answer:
        """All sweeps; what the runs so far say is offered after each."""
        kept, seen, renewed = drawn(first, root, 0), shared(first), 0
        answer = self._answer(root, seen, kept, first, renewed, 0)
        for k in range(1, self.sweeps + 1):
            sweep = Sweep(writer, self._potential(), rule, kept.fork(), self.ancestors)
            found = await sweep.run(root)
            before, kept = kept.text, drawn(found, root, k)
            renewed += kept.text != before
            seen += shared(found)
            answer = self._answer(root, seen, kept, first, renewed, k)
        return answer

    def _answer(
        self, root: Branch, seen: list[Entry], kept: Particle, first: Population, renewed: int, k: int
    ) -> Answer:
        estimates = {**first.estimates(), "renewed": renewed / k if k else 0.0}
        made = kept.answer() if self.pick == "draw" else choose(seen, self.pick, root.chance("pick"), k)
        answer = replace(made, estimates=estimates)
        root.offer(answer, rank=k)
        return answer


def drawn(population: Population, root: Branch, k: int) -> Particle:
    """A member by weight."""
    chance = root.chance("keep")
    return population.particles[chance.draw([p.logw for p in population.particles], index=k)]


def shared(population: Population) -> list[Entry]:
    """The population with weights that add up to 1."""
    log_z = population.log_z
    assert log_z > -math.inf
    return [entry._replace(logw=entry.logw - log_z) for entry in entries(population.particles)]
