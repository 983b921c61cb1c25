"""The target with layers left out drafts."""

from __future__ import annotations

from dataclasses import dataclass, field

from outthink.core.draft import Draft
from outthink.core.drafting import Outcome, Sketching, Studio, Tip
from outthink.core.errors import BadInput
from outthink.core.jobs import Variant
from outthink.core.rng import Chance
from outthink.spec import show
from outthink.speculate._variant import check_length

TRIAL = 16  # passes of the variant that a set of layers is judged by
EXPLORE = 0.25  # how often another set is tried, at the start; it halves with every 64 trials


@dataclass(frozen=True)
class Skip:
    """Leave the layers `leave_out` out and draft n tokens with the rest, on the target's own cache.

    fixed     leave_out=(2, 3)      Draft & Verify (2309.08168)
    chosen    leave_out=()          SWIFT (2410.06916): begin with every second layer but the first and last
              out; try neighbours of the best set, one layer moved, added or returned; keep what drafts best:

              value of a set = (1 + accepted tokens a draft) / (passes a draft * share of layers that run + 1)

    SWIFT searches at random and by a Gaussian process for the set that best repeats the context it has, and
    leaves out halves of blocks, too. Here a set is judged by the drafts that it writes anyway, which costs no
    pass, and blocks are whole. A draft ends before a token that the variant holds less likely than `least`.
    Raises BadInput for layers that are not there.
    """

    leave_out: tuple[int, ...] = ()
    n: int = 4
    least: float = 0.4
    __repr__ = show

    def __post_init__(self) -> None:
        check_length(self.n, self.least)
        if len(set(self.leave_out)) != len(self.leave_out) or any(i < 0 for i in self.leave_out):
            raise ValueError(f"leave_out={self.leave_out}: give layers from 0, none twice")

    def open(self, studio: Studio) -> SkipSource:
        if any(i >= studio.layers for i in self.leave_out) or len(self.leave_out) >= studio.layers:
            raise BadInput(f"skip: leave_out={self.leave_out}; the model has layers 0 to {studio.layers - 1}")
        start = self.leave_out or tuple(range(1, studio.layers - 1, 2))
        if not start:
            raise BadInput(
                f"skip: the model has {studio.layers} layers, none between the first and the last: "
                "name those to leave out, such as leave_out=(1,)"
            )
        return SkipSource(self, studio.layers, frozenset(start), studio.luck("skip"))


@dataclass(eq=False)
class SkipSource:
    """The live half of Skip: the set of layers in use, and what each that was tried is worth."""

    config: Skip
    layers: int
    out: frozenset[int]
    chance: Chance
    name: str = "skip"
    tops: int = 0
    passes: int = 0  # of the variant, since the set was last judged
    steps: int = 0
    accepted: int = 0
    trials: int = 0
    values: dict[frozenset[int], float] = field(default_factory=dict)

    @property
    def sketching(self) -> Sketching:
        kept = tuple(i for i in range(self.layers) if i not in self.out)
        return Sketching(self.name, self.config.n, Variant(kept), self.config.least)

    def propose(self, tip: Tip, depth: int, nodes: int) -> Draft | None:
        """The engine has run the variant already where it could."""
        return None

    def observe(self, tip: Tip, outcome: Outcome) -> None:
        """Judge the set in use by how many of its tokens were accepted; now and then try another.

        A step without a draft counts as well: the variant was unsure of its first token.
        """
        if self.config.leave_out:
            return
        drafted = len(outcome.draft.tokens) if outcome.draft is not None else 0
        self.steps += 1
        self.passes += min(self.config.n, drafted + 1)
        self.accepted += len(outcome.path)
        if self.passes >= TRIAL:
            share = 1 - len(self.out) / self.layers
            gain = (1 + self.accepted / self.steps) / (share * self.passes / self.steps + 1)
            self.values[self.out] = (self.values.get(self.out, gain) + gain) / 2
            self.out = self._next()
            self.passes = self.steps = self.accepted = 0
            self.trials += 1

    def end(self, tip: Tip) -> None:
        """Nothing to forget."""

    def _next(self) -> frozenset[int]:
        """The best set so far, or a neighbour of it."""
        best = max(self.values, key=lambda out: (self.values[out], sorted(out)))
        if not self.chance.flip(EXPLORE * 0.5 ** (self.trials / 64), self.trials):
            return best
        inner = range(1, self.layers - 1)
        near = [best - {i} for i in best if len(best) > 1]
        near += [best | {i} for i in inner if i not in best and len(best) + 1 < self.layers - 1]
        near += [(best - {i}) | {j} for i in best for j in inner if j not in best]
        new = [out for out in near if out not in self.values] or near
        return new[int(self.chance.uniform(self.trials, 1) * len(new))] if new else best
