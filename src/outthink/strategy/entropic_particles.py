"""Entropic particles: sequential Monte Carlo that keeps its population diverse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from outthink.core.branch import Branch
from outthink.core.protocols import Verifier
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.stats import log_mean_exp
from outthink.strategy._potentials import Potential
from outthink.strategy._resampling import anneal
from outthink.strategy._smc import Filter, Guide, Rule, answered, check_pick
from outthink.strategy._writing import Particle, Writer, check_step


@dataclass(frozen=True)
class EntropicParticles:
    """Particles whose resampling is annealed when their diversity is low, and looks ahead.

        q_i ~ (w_i g_i)^beta, with the largest beta in [0, 1] whose normalised entropy -sum q log q / log N
              is at least `entropy`
        g_i = mean over the text so far and `lookahead` next steps of it of psi / psi(text so far)

    Parents are drawn from q, and an offspring of i weighs w_i / (n q_i): annealing and looking ahead cost
    variance but no bias, and log_z and the weighted population estimate what those of `particles` do. But
    what annealing evened out is still in the weights, and counts at the next resampling. With `reset=True`
    all offspring weigh the same, as in the paper: diversity lasts, but what is sampled is no longer p psi,
    and the sum of the weights estimates nothing (log_z is left out). The steps written to look ahead are
    thrown away and paid for. Other fields are those of `particles`.

    Giannone et al., "Mitigating Premature Exploitation in Particle-based Monte Carlo for Inference-Time
    Scaling", arXiv 2510.05825; `entropy` = 0.8 is ours.
    """

    verifier: Verifier
    n: int = 8
    entropy: float = 0.8
    lookahead: int = 0
    reset: bool = False
    over: str = "value"
    scale: str = "reward"
    floor: float = 0.0
    threshold: float = 0.5
    pick: str = "vote"
    step: str = "\n"
    tokens: int | None = None

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        self._potential()
        Rule(self.n, threshold=self.threshold)
        check_pick(self.pick)
        check_step(self.step, self.tokens)
        if not 0 <= self.entropy <= 1 or self.lookahead < 0:
            raise ValueError(
                f"entropy={self.entropy}, lookahead={self.lookahead}: give a share from 0 to 1, and 0 or more"
            )

    def _potential(self) -> Potential:
        return Potential(self.verifier, self.over, self.scale, self.floor)

    async def __call__(self, root: Branch, /) -> Answer:
        root.record(*self.verifier.records)
        writer, rule = Writer.on(root, self.step, self.tokens), Rule(self.n, threshold=self.threshold)
        smc = Filter(writer.all, self._potential(), rule, guide=self._guide(writer), resets=self.reset)
        return await answered(root, smc, self.pick)

    def _guide(self, writer: Writer) -> Guide:
        async def guide(population: Sequence[Particle]) -> list[float]:
            ahead = await self._ahead(writer, population)
            return anneal([p.logw + g for p, g in zip(population, ahead, strict=True)], self.entropy)

        return guide

    async def _ahead(self, writer: Writer, population: Sequence[Particle]) -> list[float]:
        """log g of each; the text so far is among what is averaged, so that g is never 0."""
        going = [i for i, p in enumerate(population) if not p.finish] if self.lookahead else []
        scouts = [(i, population[i].fork()) for i in going for _ in range(self.lookahead)]
        await writer.all([scout for _, scout in scouts])
        ratios = {i: [0.0] for i in going}
        for (i, scout), logpsi in zip(scouts, await self._potential()([s for _, s in scouts]), strict=True):
            ratios[i].append(logpsi - population[i].logpsi)
            scout.branch.close()
        return [log_mean_exp(ratios[i]) if i in ratios else 0.0 for i in range(len(population))]
