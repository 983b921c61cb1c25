"""Conditional sequential Monte Carlo: a population of which one member's text is given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from outthink.core.branch import Branch
from outthink.core.errors import BadInput
from outthink.core.rng import Chance
from outthink.core.types import Sampling, Want
from outthink.stats import normalise
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
                "the given text weighs nothing on its way: a twist must be above 0 where texts can be"
            )
        found.particles = buried(found.particles)
        found.num_steps += 1

    def _follow(self, own: Particle) -> None:
        """One more step of the given text."""
        t = len(own.ends)
        own.branch.close()
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
        found.particles = copies(before, [*drawn, last], [found.log_z - math.log(n)] * n)
        found.num_resamplings += 1

    async def _ancestor(self, before: Sequence[Particle], chance: Chance) -> int:
        """A beginning for the rest of the given text, and the given text with it.

        P(i) ~ w_i p(rest | x_i) psi(x_i rest) / psi(x_i)
        """
        *_, own = before
        rest = self.kept.branch.tokens[own.ends[-1] :]
        fitting = [i for i, p in enumerate(before) if not p.finish and self._fits(p, len(rest))]
        joined = [await self._joined(before[i], rest, own) for i in fitting]
        logpsi = await self.potentials([p for p, _ in joined])
        logw = [
            before[i].logw + logp + now - before[i].logpsi
            for i, (_, logp), now in zip(fitting, joined, logpsi, strict=True)
        ]
        at = chance.draw(logw)
        for k, (particle, _) in enumerate(joined):
            if k != at:
                particle.branch.close()
        if fitting[at] == len(before) - 1:
            joined[at][0].branch.close()
        else:
            self.kept.branch.close()
            self.kept = joined[at][0]
        return fitting[at]

    def _fits(self, particle: Particle, size: int) -> bool:
        """Whether a text could go on with so many tokens and end as the given one ends."""
        room = self.writer.room(particle.branch)
        return size == room if self.kept.finish == "length" else size <= room

    async def _joined(self, particle: Particle, rest: Sequence[int], own: Particle) -> tuple[Particle, float]:
        """The particle with the rest of the given text, and log p(rest | particle)."""
        made, shift = particle.fork(), len(particle.branch) - own.ends[-1]
        logp = await forced(made.branch, rest)
        made.ends = (*particle.ends, *(end + shift for end in self.kept.ends[len(own.ends) :]))
        made.finish, made.cut = self.kept.finish, self.kept.cut
        return made, logp


async def forced(branch: Branch, tokens: Sequence[int]) -> float:
    """Append tokens; the log-probability that sampling would have written them."""
    temperature = branch.sampling.temperature
    if temperature == 1:
        return (await branch.extend(tokens, Want())).logprob
    rows = await branch.extend(tokens, Want(row=True))
    return sum(
        math.log(normalise(p / temperature for p in dist.row or ())[token])
        for token, dist in zip(tokens, rows.dists, strict=True)
    )


def check_plain(sampling: Sampling) -> None:
    """BadInput unless a token's probability is softmax(logits / temperature) and only the end token ends."""
    plain = Sampling(temperature=sampling.temperature, max_tokens=sampling.max_tokens)
    changed = replace(sampling, stats=(), keep_stop=False) != plain
    if changed or sampling.temperature == 0:
        raise BadInput(
            "sampling ancestors needs plain sampling: a temperature above 0, no stops, no truncation, no "
            "penalties; or give ancestors=False"
        )
