"""Particles: sequential Monte Carlo over steps, with rewards as likelihoods."""

from __future__ import annotations

from dataclasses import dataclass

from outthink.core.branch import Branch
from outthink.core.protocols import Verifier
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._moves import Regrow
from outthink.strategy._potentials import Potential
from outthink.strategy._smc import Filter, Rule, answered, check_pick
from outthink.strategy._writing import Writer, check_step


@dataclass(frozen=True)
class Particles:
    """Sample answers in proportion to p(x) psi(x): n texts grow step by step, and rewards decide who has
    children.

        w_i <- w_i * psi(x_i after the step) / psi(x_i before);  resample when the effective sample size
        (sum w)^2 / sum w^2 is under threshold * n

    psi is the verifier's reward for the text so far (`over`: its value, or the last, product, min or mean of
    its steps; not below `floor`), or the exponential of its value with `scale="log"`. Because rewards enter
    as ratios, texts of equal reward are equally likely wherever they stop; `over="product"` is the
    state-space model with a likelihood a step, in which a longer text has more factors. `resampling` is
    systematic, stratified, multinomial, residual, or without replacement (optimal, gumbel) from `expand`
    children each; after every step each particle that goes on makes `moves` Metropolis-Hastings moves.
    Steps end at `step`, or after `tokens` tokens. The answer is the weighted vote of the last population, as
    it is before any resampling (`pick`: vote, best, draw). If every particle gets weight 0, the answer is
    empty, its finish "dead: ...". Estimates: log_z (of Z = sum over x of p psi; Z itself is unbiased), ess,
    ancestors, steps, resamplings.

    Puri et al., "A Probabilistic Inference Approach to Inference-Time Scaling of LLMs using Particle-Based
    Monte Carlo Methods", arXiv 2502.01618; there the reward multiplies anew at every step (`product`).
    """

    verifier: Verifier
    n: int = 8
    over: str = "value"
    scale: str = "reward"
    floor: float = 0.0
    resampling: str = "systematic"
    threshold: float = 0.5
    expand: int = 1
    moves: int = 0
    pick: str = "vote"
    step: str = "\n"
    tokens: int | None = None

    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        self._potential()
        self._rule()
        check_pick(self.pick)
        check_step(self.step, self.tokens)
        if self.moves < 0:
            raise ValueError(f"moves={self.moves}: give 0 or more")

    @property
    def needs(self) -> Can:
        """Moves go back and write again."""
        return Can.GENERATE | Can.REWIND if self.moves else Can.GENERATE

    def _potential(self) -> Potential:
        return Potential(self.verifier, self.over, self.scale, self.floor)

    def _rule(self) -> Rule:
        return Rule(self.n, self.resampling, self.threshold, self.expand)

    async def __call__(self, root: Branch, /) -> Answer:
        root.record(*self.verifier.records)
        writer, potential = Writer.on(root, self.step, self.tokens), self._potential()
        move = Regrow(writer, potential, self.moves) if self.moves else None
        return await answered(root, Filter(writer.all, potential, self._rule(), move=move), self.pick)
