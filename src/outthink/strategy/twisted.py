"""Twisted sequential Monte Carlo: a twist function says early what a text will be worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from outthink.core.branch import Branch
from outthink.core.protocols import Verifier
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._potentials import Potential
from outthink.strategy._smc import Filter, Potentials, Rule, answered, check_pick
from outthink.strategy._writing import Particle, Writer, check_step


@dataclass(frozen=True)
class Twisted:
    """Sample texts in proportion to p(x) phi(x); the twist psi only guides who has children on the way.

        w_i <- w_i * psi(x_i after the step) / psi(x_i before);  for a text that has ended psi is phi

    `verifier` gives phi of ended texts, `twist` gives psi of those under way: any verifier, and so the place
    for a learned head. Whatever psi is, the estimate of Z = sum over x of p(x) phi(x) is unbiased, provided
    psi is above 0 wherever phi still can be; the closer psi is to E[phi | text so far], the less it varies.
    `scale="log"`: both values are logarithms. log_z is in expectation a lower bound of log Z;
    `bidirectional` gives the upper one. Other fields are those of `particles`.

    Zhao et al., "Probabilistic Inference in Language Models via Twisted Sequential Monte Carlo", arXiv
    2404.17546.
    """

    verifier: Verifier
    twist: Verifier
    n: int = 8
    scale: str = "reward"
    floor: float = 0.0
    resampling: str = "systematic"
    threshold: float = 0.5
    pick: str = "vote"
    step: str = "\n"
    tokens: int | None = None

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        self._potentials()
        Rule(self.n, self.resampling, self.threshold)
        check_pick(self.pick)
        check_step(self.step, self.tokens)

    def _potentials(self) -> Potentials:
        phi = Potential(self.verifier, scale=self.scale, floor=self.floor)
        psi = Potential(self.twist, scale=self.scale, floor=self.floor)
        return twisted_by(phi, psi)

    async def __call__(self, root: Branch, /) -> Answer:
        root.record(*self.verifier.records, *self.twist.records)
        writer, rule = Writer.on(root, self.step, self.tokens), Rule(self.n, self.resampling, self.threshold)
        return await answered(root, Filter(writer.all, self._potentials(), rule), self.pick)


def twisted_by(phi: Potential, psi: Potential) -> Potentials:
    """phi of texts that have ended, psi of the others; one call of each verifier."""

    async def potentials(particles: Sequence[Particle]) -> list[float]:
        ended = [p for p in particles if p.finish]
        going = [p for p in particles if not p.finish]
        found = dict(zip(ended, await phi(ended), strict=True))
        found |= dict(zip(going, await psi(going), strict=True))
        return [found[p] for p in particles]

    return potentials
