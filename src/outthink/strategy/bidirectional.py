"""Bidirectional Monte Carlo: log Z from below and from above."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import fmean

from outthink.core.branch import Branch
from outthink.core.errors import BadInput
from outthink.core.protocols import Verifier
from outthink.core.tasks import gather
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._conditional import Sweep
from outthink.strategy._potentials import Potential
from outthink.strategy._smc import Filter, Potentials, Rule
from outthink.strategy._writing import Particle, Writer, check_step
from outthink.strategy.twisted import twisted_by


@dataclass(frozen=True)
class Bidirectional:
    """Bounds on log Z, Z = sum over texts x of p(x) phi(x), and an exact sample of p(x) phi(x) / Z.

        lower: the mean of log (sum of weights) over `repeats` runs of sequential Monte Carlo
        upper: the same over runs given an exact sample each, with multinomial resampling

    E[lower] <= log Z <= E[upper]; a single result can be on the wrong side. Exact samples come from
    rejection: x ~ p, taken with probability phi(x) / most, in at most `tries` texts for all repeats. The
    answer is the first of them. Where the tries do not suffice, the answer is empty, its finish "no exact
    sample: ...", and there is no upper bound. `twist` guides both kinds of run (none: phi itself), and counts
    as at least `floor`: it must be above 0 on every way to a text of phi above 0. BadInput where it is not,
    or if phi is ever above `most`. Estimates: lower, upper, tries.

    Grosse, Ghahramani and Adams, "Sandwiching the marginal likelihood using bidirectional Monte Carlo"; for
    language models Zhao et al., arXiv 2404.17546.
    """

    verifier: Verifier
    twist: Verifier | None = None
    n: int = 8
    repeats: int = 1
    most: float = 1.0
    tries: int = 64
    threshold: float = 0.5
    floor: float = 0.0
    step: str = "\n"
    tokens: int | None = None

    needs = Can.GENERATE | Can.REWIND
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        Rule(self.n, threshold=self.threshold)
        Potential(self.verifier, floor=self.floor)
        check_step(self.step, self.tokens)
        if self.repeats < 1 or self.n < 2 or not self.tries >= self.repeats or not 0 < self.most < math.inf:
            raise ValueError(
                f"n={self.n}, repeats={self.repeats}, tries={self.tries}, most={self.most}: give at least 2, "
                "at least 1, as many tries as repeats, and the largest phi"
            )

    async def __call__(self, root: Branch, /) -> Answer:
        twist = self.twist or self.verifier
        root.record(*self.verifier.records, *twist.records)
        phi, writer = Potential(self.verifier), Writer.on(root, self.step, self.tokens)
        potentials = twisted_by(phi, Potential(twist, floor=self.floor))
        rule = Rule(self.n, threshold=self.threshold)
        runs = [await Filter(writer.all, potentials, rule, keep=True).run(root) for _ in range(self.repeats)]
        lower = fmean(run.log_z for run in runs)
        taken, tries = await self._exact(root, writer, phi)
        estimates = {"lower": lower, "tries": float(tries)}
        if len(taken) < self.repeats:
            why = f"no exact sample: {len(taken)} of {self.repeats} in {tries} tries"
            return Answer("", finish=why, estimates=estimates)
        upper = await self._upper(root, writer, potentials, taken)
        return replace(taken[0].answer(), estimates={**estimates, "upper": upper})

    async def _upper(
        self, root: Branch, writer: Writer, potentials: Potentials, taken: list[Particle]
    ) -> float:
        rule = Rule(self.n, "multinomial", self.threshold)
        runs = [await Sweep(writer, potentials, rule, kept).run(root) for kept in taken]
        return fmean(run.log_z for run in runs)

    async def _exact(self, root: Branch, writer: Writer, phi: Potential) -> tuple[list[Particle], int]:
        """Exact samples, as many as there are repeats, and how many texts that took; in rounds of n."""
        taken: list[Particle] = []
        seat, tries = root.fork()[0], 0
        while len(taken) < self.repeats and tries < self.tries:
            drafts = [Particle(b) for b in root.fork(min(self.n, self.tries - tries))]
            await gather(*(writer.whole(draft) for draft in drafts))
            for draft, logpsi in zip(drafts, await phi(drafts), strict=True):
                if logpsi > math.log(self.most) + 1e-12:
                    raise BadInput(f"phi={math.exp(logpsi):g} is above most={self.most}: give a larger most")
                chance = min(1.0, math.exp(logpsi) / self.most)
                is_taken = len(taken) < self.repeats and seat.chance("take").flip(chance, index=tries)
                tries += 1
                if is_taken:
                    taken.append(draft)
                    root.offer(replace(draft.answer(), branch=None), rank=-len(taken))
                else:
                    draft.branch.close(keep=True)
        return taken, tries
