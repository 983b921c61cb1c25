"""A smaller model writes the draft."""

from __future__ import annotations

from dataclasses import dataclass, field

from outthink.core.draft import Draft
from outthink.core.drafting import Needed, Outcome, Shadow, Studio, Tip
from outthink.spec import show


@dataclass(frozen=True)
class DraftModel:
    """Another model writes n tokens; the target checks them in one pass.

    It draws with the target's own noise: where both models agree on the distribution they draw the same
    token, at any temperature. It says how likely it held each, by which `auto` cuts its drafts. `dtype` is
    the other model's, by default the target's. Leviathan et al., 2211.17192 (with match in place of
    rejection). One with another tokenizer drafts its likeliest tokens, by text; where it cannot read that,
    the receipt says so.
    """

    model: str = "pocket-mini"
    n: int = 4
    dtype: str = ""
    __repr__ = show

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n={self.n}: give at least 1")

    def open(self, studio: Studio) -> DraftModelSource:
        return DraftModelSource(self, studio)


@dataclass(eq=False)
class DraftModelSource:
    """The live half of DraftModel: one text on the other model for every tip."""

    config: DraftModel
    studio: Studio
    name: str = "draft_model"
    tops: int = 0
    shadows: dict[Tip, Shadow] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """The most tokens of a draft."""
        return self.config.n

    @property
    def place(self) -> str:
        """What the other model is called in the engine."""
        return Needed(self.config.model, self.config.dtype).place

    async def think(self, tip: Tip, depth: int, nodes: int) -> Draft | None:
        """The other model's own next tokens."""
        shadow = self.shadows.get(tip)
        if shadow is None:
            shadow = self.shadows[tip] = self.studio.shadow(tip, self.place)
        await shadow.follow(tip.tokens)
        written = await shadow.write(min(self.config.n, depth, nodes))
        return Draft.chain(written, shadow.sure, by=self.name)

    def propose(self, tip: Tip, depth: int, nodes: int) -> Draft | None:
        """Never without a pass."""
        return None

    def observe(self, tip: Tip, outcome: Outcome) -> None:
        """The texts follow when they are next asked."""

    def end(self, tip: Tip) -> None:
        shadow = self.shadows.pop(tip, None)
        if shadow is not None:
            shadow.close()
