"""What drafters have at hand: other models that follow a tip's text, at the cost of the actual book alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outthink.core.drafting import Drafter, Shadow, Tip
from outthink.core.errors import BadInput
from outthink.core.ledger import Scope
from outthink.core.receipt import Cost
from outthink.core.rng import Chance
from outthink.engine.follower import Follower
from outthink.engine.remote import RemotePlace
from outthink.engine.translate import Translator

if TYPE_CHECKING:
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


class EngineStudio:
    """`core.drafting.Studio` for one run."""

    def __init__(self, run: Run, drafter: Drafter, shares_noise: bool) -> None:
        place = run.engine.main
        self._engine, self._seed, self._chances = run.engine, run.seed, run.chances
        self._salt = run.salt  # of the cache on drafting models, too
        self.clock = run.engine.clock if isinstance(place, RemotePlace) else place.clock
        self.pace = run.engine.memory.pace(run.request.share, repr(drafter))
        self.vocab = place.vocab
        self.tokenizer = place.tokenizer
        self.ends = place.eos
        self.shares_noise = shares_noise
        self.layers = 0 if isinstance(place, RemotePlace) else place.layers

    def luck(self, name: str) -> Chance:
        """Chance for what a source tries: it may change the cost, never the text."""
        return self._chances(self._seed, f"source:{name}")

    def chance(self, tip: Tip) -> Chance:
        """Chance for drafts that are drawn: apart from that of the text."""
        return self._chances(tip.branch_key, "draft")

    def seconds(self, rows: int, model: str = "") -> float:
        """What a pass of so many rows takes, as measured."""
        place = self._engine.place(model or None)
        assert not isinstance(place, RemotePlace), "an endpoint drafts on its own side"
        return place.curve()[rows]

    def plain(self, rows: int, model: str = "") -> float:
        """What it takes where nobody drafts."""
        place = self._engine.place(model or None)
        assert not isinstance(place, RemotePlace), "an endpoint drafts on its own side"
        return place.curve().plain(rows)

    def shadow(self, tip: Tip, model: str = "") -> Shadow:
        """The tip's text on another model of the engine."""
        place = self._engine.place(model or None)
        if isinstance(place, RemotePlace):
            raise BadInput(f"{place.name} is an endpoint: its tokens cannot be drafted here")
        if place.vocab == self.vocab and _same_words(place.tokenizer, self.tokenizer):
            return Follower(place, tip, tip.tokens, tip.sampling, self._salt)
        if not all(map(_reads_text, (place.tokenizer, self.tokenizer))):
            raise BadInput(
                f"{place.name} has another vocabulary than {self._engine.main.name}, and no text to share"
            )
        return Translator(place, tip, self.tokenizer, self._salt)


SAMPLE = "A: 12 + 7 = 19\nThe quick brown fox, 3.5%"


def _same_words(one: Any, other: Any) -> bool:
    """Whether two tokenizers read a sample text alike."""
    try:
        return bool(one is other or one.encode(SAMPLE) == other.encode(SAMPLE))
    except BadInput:
        return type(one) is type(other)


def _reads_text(tokenizer: Any) -> bool:
    """Whether a tokenizer gives any text back: then another may read it."""
    try:
        return bool(tokenizer.decode(tokenizer.encode(SAMPLE)) == SAMPLE)
    except BadInput:
        return False
