"""Conditional sequential Monte Carlo: a population of which one member's text is given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from outthink.core.branch import Branch
from outthink.core.errors import BadInput
from outthink.core.rng import Chance
from outthink.core.types import Sampling, Want
from outthink.strategy._smc import Population, Potentials, Rule, buried, copies, weigh
from outthink.strategy._writing import Particle, Writer


@dataclass(slots=True)
class Sweep:
    """One run given `kept`, an ended particle: the last of n follows it, the others are free.

        at every resampling the last particle goes on as it is (or, with ancestor sampling, from another
        beginning), and n - 1 parents are drawn in proportion to the weights

    If `kept` is distributed as p(x) psi(x) / Z, so is a member of the last population drawn by weight, and
    the mean of log (sum of weights) is an upper bound of log Z. Resampling is multinomial.
    """

    writer: Writer
    potentials: Potentials
    rule: Rule
    kept: Particle
    ancestors: bool = False
    logps: list[float] = field(default_factory=list)  # of the last tokens of `kept`, once they are known

    async def run(self, root: Branch) -> Population:
        """The last population below `root`. BadInput if the given text weighs nothing on its way."""
        n = self.rule.n
        seat, *branches = root.fork(1 + n)
        found = Population([Particle(b, -math.log(n), origin=i) for i, b in enumerate(branches)])
        while found.is_going:
            await self._step(found)
            if found.is_going and self.rule.is_due(found.particles):
                await self._resample(found, seat)
        return found

    async def _step(self, found: Population) -> None:
        *free, own = found.particles
        going = [p for p in found.particles if not p.finish]
        await self.writer.all([p for p in free if not p.finish])
        if not own.finish:
            self._follow(own)
        await weigh(self.potentials, going)
        if own.logw == -math.inf:
            raise BadInput(
                "the given text weighs nothing on its way: a twist must be above 0 wherever such a text can "
                "begin; give floor=0.1, say"
            )
        found.particles = buried(found.particles, keep=True)
        found.num_steps += 1

    def _follow(self, own: Particle) -> None:
        """One more step of the given text."""
        t = len(own.ends)
        own.branch.close(keep=True)
        own.branch = self.kept.branch.fork()[0]
        own.branch.rewind(self.kept.ends[t])
        own.ends = self.kept.ends[: t + 1]
        if own.ends == self.kept.ends:
            own.finish, own.cut = self.kept.finish, self.kept.cut

    async def _resample(self, found: Population, seat: Branch) -> None:
        before, n = found.particles, self.rule.n
        chance = seat.chance(f"resample {found.num_steps}")
        drawn = [chance.draw([p.logw for p in before], index=k) for k in range(n - 1)]
        last = len(before) - 1
        if self.ancestors and not before[last].finish:
            last = await self._ancestor(before, seat.chance(f"ancestor {found.num_steps}"))
        weights = [found.log_z - math.log(n)] * n
        found.particles = copies(before, [*drawn, last], weights, keep=True)
        found.num_resamplings += 1

    async def _ancestor(self, before: Sequence[Particle], chance: Chance) -> int:
        """A beginning for the rest of the given text, and the given text with it.

        P(i) ~ w_i p(rest | x_i) psi(x_i rest) / psi(x_i)
        """
        *others, own = before
        rest = self.kept.branch.tokens[own.ends[-1] :]
        fitting = [i for i, p in enumerate(others) if not p.finish and self._fits(p, len(rest))]
        joined = [self._join(before[i], own) for i in fitting]
        logps = [await forced(made.branch, rest) for made in joined]
        logpsi = await self.potentials(joined)
        logw = [own.logw + sum((await self._own_logps())[-len(rest) :]) + self.kept.logpsi - own.logpsi]
        for i, logp, now in zip(fitting, logps, logpsi, strict=True):
            logw.append(before[i].logw + sum(logp) + now - before[i].logpsi)
        at = chance.draw(logw) - 1
        for k, made in enumerate(joined):
            if k != at:
                made.branch.close(keep=True)
        if at < 0:
            return len(others)
        self.kept.branch.close(keep=True)
        self.kept, self.logps = joined[at], logps[at]
        self.kept.logpsi = logpsi[at]
        return fitting[at]

    def _fits(self, particle: Particle, size: int) -> bool:
        """Whether a text could go on with so many tokens and end as the given one ends."""
        room = self.writer.room(particle.branch)
        return size == room if self.kept.finish == "length" else size <= room

    def _join(self, particle: Particle, own: Particle) -> Particle:
        """The particle as it will be with the rest of the given text."""
        shift = len(particle.branch) - own.ends[-1]
        ends = (*particle.ends, *(end + shift for end in self.kept.ends[len(own.ends) :]))
        branch = particle.branch.fork()[0]
        return replace(particle, branch=branch, ends=ends, finish=self.kept.finish, cut=self.kept.cut)

    async def _own_logps(self) -> list[float]:
        """What the last tokens of the given text scored when they were put below its beginning.

        Where it was written at temperature 1 that is on record; else it is scored, once a text.
        """
        if not self.logps:
            branch = self.kept.branch
            record = branch.logps[self.writer.begin :]
            if branch.sampling.temperature == 1 and None not in record:
                self.logps = [p for p in record if p is not None]
            else:
                twin = branch.fork()[0]
                twin.rewind(self.writer.begin)
                self.logps = await forced(twin, branch.tokens[self.writer.begin :])
                twin.close(keep=True)
        return self.logps


async def forced(branch: Branch, tokens: Sequence[int]) -> list[float]:
    """Append tokens; the log-probabilities with which plain sampling would have written them."""
    temperature = branch.sampling.temperature
    if temperature == 1:
        return list((await branch.extend(tokens, Want())).logprobs)
    name = f"logz{temperature!r}"
    rows = await branch.extend(tokens, Want(stats=(name,)))
    logps = zip(rows.logprobs, rows.dists, strict=True)
    return [logprob / temperature - dist.stats[name] for logprob, dist in logps]


def check_plain(sampling: Sampling) -> None:
    """BadInput unless a token's probability is softmax(logits / temperature) and only the end token ends."""
    plain = Sampling(temperature=sampling.temperature, max_tokens=sampling.max_tokens)
    changed = replace(sampling, stats=(), keep_stop=False) != plain
    if changed or sampling.temperature == 0:
        raise BadInput(
            "sampling ancestors needs plain sampling: a temperature above 0, no stops, no truncation, no "
            "penalties; or give ancestors=False"
        )
