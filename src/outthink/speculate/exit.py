"""The first layers of the target draft."""

from __future__ import annotations

from dataclasses import dataclass

from outthink.core.drafting import Sketching, Studio
from outthink.core.errors import BadInput
from outthink.core.jobs import Variant
from outthink.spec import show
from outthink.speculate._variant import VariantSource, check_length


@dataclass(frozen=True)
class Exit:
    """Leave after `layer` layers and go straight to the head: n tokens, fewer where it is unsure.

    Reads the target's own cache of these layers. A draft ends before a token that the exit holds less likely
    than `least`. Works where the model was trained to leave early (LayerSkip, 2404.16710); others draft
    badly, and the receipt shows it.
    """

    layer: int = 0  # 0: half of them
    n: int = 4
    least: float = 0.4
    __repr__ = show

    def __post_init__(self) -> None:
        check_length(self.n, self.least)
        if self.layer < 0:
            raise ValueError(f"layer={self.layer}: give 1 or more, or 0 for half of them")

    def open(self, studio: Studio) -> VariantSource:
        layer = self.layer or max(1, studio.layers // 2)
        if layer >= studio.layers:
            raise BadInput(f"exit: the model has {studio.layers} layers; leave after fewer than that")
        return VariantSource(Sketching("exit", self.n, Variant(tuple(range(layer))), self.least))
