"""Metropolis-Hastings moves on texts: write the end anew, keep it or not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from outthink.core.branch import Branch
from outthink.core.rng import Chance
from outthink.core.tasks import gather
from outthink.strategy._smc import Potentials
from outthink.strategy._writing import Particle, Writer


@dataclass(frozen=True)
class Regrow:
    """One Metropolis-Hastings move of each particle; what is proportional to p(x) psi(x) stays so.

        k ~ uniform over the K steps of x;  x' = x before step k, written anew from there
        x <- x' with probability min(1, psi(x') K / (psi(x) K'))

    The text's probability cancels against the proposal's; K / K' is for choosing the same k on the way back.
    """

    writer: Writer
    potentials: Potentials
    times: int = 1

    async def __call__(self, particles: Sequence[Particle], num_steps: float, seat: Branch) -> int:
        """Move all, side by side, among texts of at most `num_steps` steps; how many moves were made.

        A text that has ended becomes one that has ended, and one that goes on one that goes on.
        """
        return sum([await self._round(particles, num_steps, seat) for _ in range(self.times)])

    async def _round(self, particles: Sequence[Particle], num_steps: float, seat: Branch) -> int:
        own = seat.fork()[0]  # new chance for every round of moves
        where, whether = own.chance("cut"), own.chance("accept")
        trials = [self._cut(p, where, i) for i, p in enumerate(particles)]
        await gather(*(self._regrow(t, num_steps) for t in trials))
        alike = [t for t, p in zip(trials, particles, strict=True) if bool(t.finish) == bool(p.finish)]
        logpsi = dict(zip(alike, await self.potentials(alike), strict=True))
        moved = 0
        for i, (old, new) in enumerate(zip(particles, trials, strict=True)):
            now = logpsi.get(new, -math.inf)
            gain = _gain(old.logpsi, now) + math.log(len(old.ends) / len(new.ends))
            is_kept = now > -math.inf and whether.flip(math.exp(min(0.0, gain)), index=i)
            self._settle(old, new, now, is_kept)
            moved += is_kept
        own.close()
        return moved

    def _cut(self, particle: Particle, chance: Chance, i: int) -> Particle:
        """A copy without its last steps, from a random one on."""
        trial = particle.fork()
        k = chance.draw([0.0] * len(particle.ends), index=i)
        trial.branch.rewind(particle.ends[k - 1] if k else self.writer.begin)
        trial.ends, trial.finish, trial.cut = particle.ends[:k], "", None
        return trial

    async def _regrow(self, trial: Particle, num_steps: float) -> None:
        while not trial.finish and len(trial.ends) < num_steps:
            await self.writer.one(trial)

    def _settle(self, old: Particle, new: Particle, logpsi: float, is_kept: bool) -> None:
        """Leave `old` as the state that was chosen; the other branch closes."""
        if is_kept:
            old.branch, new.branch = new.branch, old.branch
            old.ends, old.finish, old.cut, old.logpsi = new.ends, new.finish, new.cut, logpsi
        new.branch.close(keep=True)


def _gain(before: float, now: float) -> float:
    """log psi(x') / psi(x); away from a text that weighs nothing, always."""
    return math.inf if before == -math.inf else now - before
