"""Sequential Monte Carlo over texts, one step at a time.

    particles x_i = "" with weight 1/n
    repeat: every particle that has not ended writes a step      x_i ~ p(. | x_i)
            w_i <- w_i * psi(x_i) / psi(x_i before)              psi("") = 1, one call of the verifier
            what weighs nothing is buried; if nothing is left the population is dead and Z is 0
            stop if all have ended
            if (sum w)^2 / sum w^2 < threshold * n: resample to n particles of one weight

The potential telescopes: over the texts the weights estimate p(x) psi(x), whatever the potentials of their
beginnings were, and sum w is an unbiased estimate of Z = sum over x of p(x) psi(x). An ended particle keeps
its place and its weight, so stopping early neither gains nor loses.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import NamedTuple

from outthink.core.branch import Branch
from outthink.core.rng import Chance
from outthink.core.types import Answer
from outthink.stats import effective_sample_size, logsumexp, normalise
from outthink.strategy._resampling import SCHEMES, WITHOUT_REPLACEMENT, resample
from outthink.strategy._writing import Particle, report
from outthink.strategy.vote import elect

Write = Callable[[Sequence[Particle]], Awaitable[None]]
Potentials = Callable[[Sequence[Particle]], Awaitable[list[float]]]
# From the population, the log of what resampling draws in proportion to.
Guide = Callable[[Sequence[Particle]], Awaitable[list[float]]]
# A change of all particles, after so many steps, that leaves their distribution as it is. Chance is of the
# branch.
Move = Callable[[Sequence[Particle], float, Branch], Awaitable[int]]


@dataclass(frozen=True)
class Rule:
    """When and how a population of n is resampled; each particle has `expand` children a step."""

    n: int
    scheme: str = "systematic"
    threshold: float = 0.5
    expand: int = 1

    def __post_init__(self) -> None:
        if self.n < 1 or self.expand < 1:
            raise ValueError(f"n={self.n}, expand={self.expand}: give at least 1")
        if self.scheme not in SCHEMES:
            raise ValueError(f"resampling={self.scheme!r}: give one of {', '.join(SCHEMES)}")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold={self.threshold}: give a share of n from 0 (never) to 1")
        if self.scheme in WITHOUT_REPLACEMENT and self.expand < 2:
            raise ValueError(f"resampling={self.scheme!r} chooses among more than n: give expand=2 or more")

    def is_due(self, population: Sequence[Particle]) -> bool:
        """Whether to resample now: too many, or too uneven."""
        if len(population) > self.n:
            return True
        size = effective_sample_size(p.logw for p in population)
        return self.scheme not in WITHOUT_REPLACEMENT and size < self.threshold * self.n


@dataclass(slots=True)
class Population:
    """Weighted particles, as they are before any resampling; empty if it died."""

    particles: list[Particle]
    num_steps: int = 0
    num_resamplings: int = 0

    @property
    def is_going(self) -> bool:
        """Whether anyone can still write."""
        return any(not p.finish for p in self.particles)

    @property
    def log_z(self) -> float:
        """The estimate of log Z: the log of all weight."""
        return logsumexp(p.logw for p in self.particles) if self.particles else -math.inf

    def estimates(self) -> dict[str, float]:
        """What an answer says of the population."""
        logw = [p.logw for p in self.particles]
        return {
            "log_z": self.log_z,
            "ess": effective_sample_size(logw) if logw else 0.0,
            "ancestors": float(len({p.origin for p in self.particles})),
            "steps": float(self.num_steps),
            "resamplings": float(self.num_resamplings),
        }


@dataclass(frozen=True)
class Filter:
    """What a run of sequential Monte Carlo is made of."""

    write: Write
    potentials: Potentials
    rule: Rule
    guide: Guide | None = None
    resets: bool = (
        False  # offspring drawn by a guide weigh the same, as if it had been the weights: not proper
    )
    move: Move | None = None
    keep: bool = False  # whether texts that are dropped may well be written again, by moves or later runs
    seen: Callable[[Population], None] = field(default=lambda population: None)  # told after every step

    async def run(self, root: Branch) -> Population:
        """A weighted population of ended texts that begin at `root`."""
        seat, *branches = root.fork(1 + self.rule.n)  # nothing is written on the seat: it has the chance
        first = -math.log(self.rule.n)
        found = Population([Particle(b, first, origin=i) for i, b in enumerate(branches)])
        while found.is_going:
            found.particles = expanded(found.particles, self.rule.expand)
            await self._step(found)
            self.seen(found)
            if found.is_going and self.rule.is_due(found.particles):
                await self._resample(found, seat)
            if self.move:
                # Whoever goes on moves after every step: moves that depend on the population would bias it.
                await self.move([p for p in found.particles if not p.finish], found.num_steps, seat)
        report(seat, found.particles)
        return found

    async def _step(self, found: Population) -> None:
        """Every particle that goes on writes a step and is weighed by it."""
        going = [p for p in found.particles if not p.finish]
        await self.write(going)
        await weigh(self.potentials, going)
        found.particles = buried(found.particles, self.keep)
        found.num_steps += 1

    async def _resample(self, found: Population, seat: Branch) -> None:
        before = found.particles
        logw = [p.logw for p in before]
        logq = await self.guide(before) if self.guide else logw
        if self.resets:
            logw = [q + found.log_z - logsumexp(logq) for q in logq]
        chance = seat.chance(f"resample {found.num_steps}")
        children = resample(self.rule.scheme, logw, self.rule.n, chance, logq)
        parents, weights = [c.parent for c in children], [c.logw for c in children]
        found.particles = copies(before, parents, weights, self.keep)
        found.num_resamplings += 1


async def weigh(potentials: Potentials, particles: Sequence[Particle]) -> None:
    """Multiply each weight by what the potential has become, divided by what it was."""
    for particle, now in zip(particles, await potentials(particles), strict=True):
        particle.logw += now - particle.logpsi
        particle.logpsi = now


def buried(particles: Sequence[Particle], keep: bool = False) -> list[Particle]:
    """Those that weigh something; the branches of the others close (`keep`: their texts may come again)."""
    for particle in particles:
        if particle.logw == -math.inf:
            particle.branch.close(keep)
    return [p for p in particles if p.logw > -math.inf]


def expanded(particles: Sequence[Particle], expand: int) -> list[Particle]:
    """Each that goes on becomes `expand` of the same weight in all."""
    if expand == 1:
        return list(particles)
    parents = [i for i, p in enumerate(particles) for _ in range(1 if p.finish else expand)]
    split = [0.0 if p.finish else math.log(expand) for p in particles]
    return copies(particles, parents, [particles[i].logw - split[i] for i in parents])


def copies(
    particles: Sequence[Particle], parents: Sequence[int], logw: Sequence[float], keep: bool = False
) -> list[Particle]:
    """The particles with these indices under new weights, each on its own branch; the old branches close
    (`keep`: their texts may come again).

    One that is taken once stays where it is.
    """
    made: list[Particle] = []
    taken = Counter(parents)
    for parent, weight in zip(parents, logw, strict=True):
        particle = particles[parent]
        made.append(replace(particle if taken[parent] == 1 else particle.fork(), logw=weight))
    for i, particle in enumerate(particles):
        if taken[i] != 1:
            particle.branch.close(keep)
    return made


# ------------------------------------------------------------------------------------------ the answer

PICKS = ("vote", "best", "draw")


def check_pick(pick: str) -> None:
    """ValueError for a way of answering that there is not."""
    if pick not in PICKS:
        raise ValueError(f"pick={pick!r}: give 'vote', 'best' or 'draw'")


class Entry(NamedTuple):
    """An ended text as it stands for election."""

    answer: Answer
    logw: float
    logpsi: float


def entries(particles: Sequence[Particle]) -> list[Entry]:
    """The particles that have ended."""
    return [Entry(p.answer(), p.logw, p.logpsi) for p in particles if p.finish]


def choose(found: Sequence[Entry], pick: str, chance: Chance, index: int) -> Answer:
    """The answer of weighted texts, scored by its share of the weight.

    vote: the class of equal final answers that weighs most; best: the text with the largest potential, ties
    to the first; draw: a text by its weight, with the number `index` of `chance`. Without anyone it is an
    empty answer that says so.
    """
    if not found:
        return Answer("", finish="dead: every text has weight 0")
    shares = normalise(entry.logw for entry in found)
    answers = [replace(entry.answer, score=share) for entry, share in zip(found, shares, strict=True)]
    if pick == "vote":
        return elect(answers, shares)
    if pick == "best":
        at = max(range(len(answers)), key=lambda i: (found[i].logpsi, -i))
    else:
        at = chance.draw([entry.logw for entry in found], index)
    return replace(answers[at], others=tuple(a for i, a in enumerate(answers) if i != at))


async def answered(root: Branch, smc: Filter, pick: str) -> Answer:
    """Run a filter below `root` and choose from its last population; what has ended so far is offered."""
    chance, numbers = root.chance("pick"), count()

    def chosen(population: Population) -> Answer:
        estimates = population.estimates()
        if smc.resets:
            del estimates["log_z"]
        answer = choose(entries(population.particles), pick, chance, next(numbers))
        return replace(answer, estimates=estimates)

    def seen(population: Population) -> None:
        if any(p.finish for p in population.particles):
            root.offer(chosen(population), rank=population.num_steps)

    return chosen(await replace(smc, seen=seen).run(root))
