"""The target with its weights rounded to 8 bits drafts."""

from __future__ import annotations

from dataclasses import dataclass

from outthink.core.drafting import Sketching, Studio
from outthink.core.jobs import Variant
from outthink.spec import show
from outthink.speculate._variant import VariantSource, check_length


@dataclass(frozen=True)
class Int8:
    """A copy of the target in 8 bits writes n tokens on the target's own cache; the target checks them.

    The copy reads a quarter of float32's bytes, half of bfloat16's, and mostly agrees: a drafter that every
    model has, natively, in torch and through transformers (`models/variants.py`), but one that is in 8 bits
    already. It pays where a pass waits for memory, so for models that do not fit the processor's cache.
    After "QSpec: Speculative Decoding with Complementary Quantization Schemes".
    """

    n: int = 4
    least: float = 0.0
    __repr__ = show

    def __post_init__(self) -> None:
        check_length(self.n, self.least)

    def open(self, studio: Studio) -> VariantSource:
        return VariantSource(Sketching("int8", self.n, Variant(is_int8=True), self.least))
