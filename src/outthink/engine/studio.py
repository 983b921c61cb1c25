"""What drafters have at hand: other models that follow a tip's text, at the cost of the actual book alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from outthink.core.branch import WriteWork
from outthink.core.drafting import Drafter, Shadow, Tip
from outthink.core.errors import BadInput
from outthink.core.ledger import Scope
from outthink.core.rng import Chance
from outthink.core.tasks import evaluate
from outthink.core.types import Cost
from outthink.engine.remote import RemotePlace

if TYPE_CHECKING:
    from outthink.engine.place import Place
    from outthink.engine.request import Run
    from outthink.engine.speculator import Speculator


class DraftScope(Scope):
    """Where drafting is charged: nothing to the logical book, everything to the actual one of `on`."""

    def __init__(self, on: Scope, speculator: Speculator | None) -> None:
        super().__init__("draft")
        self.on = on
        self.speculator = speculator  # who drafts for what is written here
        self.is_draft = True

    def charge(self, cost: Cost) -> None:
        pass

    def charge_actual(self, cost: Cost) -> None:
        self.actual.add(cost)
        self.on.charge_actual(cost)


class Follower:
    """A text on a drafting model that follows a tip: what a Stretch needs of a branch, and no more.

    It draws with the tip's key, so the draft is what that model would write under the target's own noise.
    """

    def __init__(self, place: Place, tip: Tip) -> None:
        self.place = place
        self.tip = tip
        self.path = tip.branch.path
        self.key = tip.branch.key
        self.origin = tip.prompt
        self.logps: list[float | None] = []
        self.stats: dict[str, list[float]] = {}
        self.known = list(tip.tokens)
        self.cursor = place.tree.open(self.known)

    async def follow(self, tokens: Sequence[int]) -> None:
        """Go to exactly these tokens, keeping the cache of what they share with where it stood."""
        same = next(
            (i for i, (a, b) in enumerate(zip(self.known, tokens, strict=False)) if a != b),
            min(len(self.known), len(tokens)),
        )
        self.place.tree.rewind(self.cursor, same)
        self.place.tree.extend(self.cursor, tokens[same:], keep=True)
        self.known = list(tokens)

    async def write(self, count: int) -> list[int]:
        """Write at most so many tokens; fewer where the text ends."""
        sampling = replace(self.tip.sampling, max_tokens=count, stop=(), stats=())
        before = self.cursor.length
        await evaluate(WriteWork(self, sampling))  # type: ignore[arg-type]
        written = self.place.tree.tokens(self.cursor, before)
        self.known += written
        return written

    def text(self, since: int = 0) -> str:
        """Nobody reads it."""
        return ""

    def close(self) -> None:
        self.place.tree.close(self.cursor)


class EngineStudio:
    """`core.drafting.Studio` for one run."""

    def __init__(self, run: Run, drafter: Drafter, shares_noise: bool) -> None:
        place = run.engine.main
        self.engine, self.seed, self.chances = run.engine, run.seed, run.chances
        self.clock = run.engine.clock
        self.pace = run.engine.memory.pace(run.request.share, repr(drafter))
        self.vocab = place.vocab
        self.tokenizer = place.tokenizer
        self.ends = place.eos
        self.shares_noise = shares_noise
        self.layers = 0 if isinstance(place, RemotePlace) else place.layers

    def luck(self, name: str) -> Chance:
        """Chance for what a source tries: it may change the cost, never the text."""
        return self.chances(self.seed, f"source:{name}")

    def chance(self, tip: Tip) -> Chance:
        """Chance for drafts that are drawn: apart from that of the text."""
        return self.chances(tip.branch.key, "draft")

    def seconds(self, rows: int) -> float:
        """What a pass of so many rows takes, as measured."""
        place = self.engine.main
        assert not isinstance(place, RemotePlace), "an endpoint drafts on its own side"
        return place.curve()[rows]

    def shadow(self, tip: Tip, model: str = "") -> Shadow:
        """The tip's text on another model of the engine."""
        place = self.engine.place(model or None)
        if isinstance(place, RemotePlace):
            raise BadInput(f"{place.name} is an endpoint: its tokens cannot be drafted here")
        if place.vocab != self.vocab or not _same_words(place.tokenizer, self.tokenizer):
            raise BadInput(f"{place.name} has another vocabulary than {self.engine.main.name}")
        return Follower(place, tip)


def _same_words(one: Any, other: Any) -> bool:
    """Whether two tokenizers read a sample text alike."""
    sample = "A: 12 + 7 = 19\nThe quick brown fox, 3.5%"
    try:
        return bool(one is other or one.encode(sample) == other.encode(sample))
    except BadInput:
        return type(one) is type(other)
