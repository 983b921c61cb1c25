"""What drafters that are variants of the model share: a source that names its variant."""

from __future__ import annotations

from dataclasses import dataclass

from outthink.core.draft import Draft
from outthink.core.drafting import Outcome, Sketching, Tip


def check_length(n: int, least: float) -> None:
    """Raise ValueError for a draft of no tokens, or a probability that is none."""
    if n < 1:
        raise ValueError(f"n={n}: give at least 1")
    if not 0 <= least <= 1:
        raise ValueError(f"least={least}: give a probability from 0 to 1")


@dataclass(eq=False)
class VariantSource:
    """The live half of a drafter with one variant; the engine runs it for all branches at once."""

    sketching: Sketching
    tops: int = 0

    @property
    def name(self) -> str:
        return self.sketching.name

    def propose(self, tip: Tip, depth: int, nodes: int) -> Draft | None:
        """The engine has run the variant already where it could."""
        return None

    def observe(self, tip: Tip, outcome: Outcome) -> None:
        """Nothing to learn."""

    def end(self, tip: Tip) -> None:
        """Nothing to forget."""
