"""What drafters are told, and what they answer. A draft may change what a run costs, never what it writes.

A drafter is a frozen configuration. `open` gives its live half for one request, a *source*: what that learns
across branches (n-grams, acceptance rates) lives there. A source is asked at every step of every stretch of
writing, its *tip*; it answers with a token tree, and hears what became of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple, NoReturn, Protocol, runtime_checkable

from outthink.core.draft import Draft
from outthink.core.jobs import Variant
from outthink.core.rng import Chance
from outthink.core.types import Sampling


def _is_read(*_: Any, **__: Any) -> NoReturn:
    raise TypeError("a tip is read, not written: take a copy, such as list(tip.tokens)")


class Shown(list[int]):
    """Tokens that whoever is given them can only read, as fast as a list. Raises TypeError for all else."""

    __slots__ = ()
    append = extend = insert = pop = remove = clear = sort = reverse = _is_read
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _is_read


def _unheard(what: str, name: str = "") -> None:
    """Nobody listens."""


class Tip:
    """One stretch of writing as drafters see it. `tokens` (prompt included) grows as it is written.

    All but `local` is read only. `complain(what, name)`: a draft of the source of that name was lost; said
    once on the receipt and in the log.
    """

    __slots__ = ("tokens", "prompt", "path", "branch_key", "sampling", "ends", "local", "key", "complain")
    tokens: Sequence[int]
    prompt: int  # how many of `tokens` were given, not written
    path: tuple[int, ...]  # of its branch
    branch_key: int  # of all chance on its branch
    sampling: Sampling
    ends: frozenset[int]  # tokens that end the text: nothing is drafted after them
    key: int  # of the noise that the target's tokens are drawn with
    local: dict[Any, Any]  # what sources remember of this tip
    complain: Callable[[str, str], None]
    __setattr__ = __delattr__ = _is_read

    def __init__(
        self,
        tokens: Sequence[int],
        prompt: int,
        sampling: Sampling,
        ends: frozenset[int] = frozenset(),
        path: tuple[int, ...] = (),
        branch_key: int = 0,
        key: int = 0,
        complain: Callable[[str, str], None] = _unheard,
    ) -> None:
        put = object.__setattr__  # one by one: every text that ends makes a tip
        put(self, "tokens", Shown(tokens))
        put(self, "prompt", prompt)
        put(self, "path", path)
        put(self, "branch_key", branch_key)
        put(self, "sampling", sampling)
        put(self, "ends", ends)
        put(self, "local", {})
        put(self, "key", key)
        put(self, "complain", complain)

    def grow(self, tokens: Sequence[int]) -> None:
        """The engine wrote these; for drafters there is no reason to call it."""
        list.extend(self.tokens, tokens)  # type: ignore[arg-type]


class Outcome(NamedTuple):
    """What became of a step: `tokens` were written, the draft's nodes `path` and then one of the model's own.

    `drawn[i]` is the token that the model drew after node i (-1: the tip), for every node that was checked;
    under a rule that reads rows only what was written, because noise that is not used yet stays unknown.
    `tops[i]` the likeliest tokens there with their log-probabilities, for sources that ask for them.
    `rows` of the pass are there for this step; one that others need too counts for who comes first.
    """

    draft: Draft | None
    drawn: Mapping[int, int]
    path: tuple[int, ...]
    tokens: Sequence[int]
    tops: Mapping[int, Sequence[tuple[int, float]]]
    rows: int = 1


class Accepted(NamedTuple):
    """The nodes of a draft that are accepted, from the tip down, and the token to write after them."""

    path: tuple[int, ...]
    token: int


class Target(Protocol):
    """What the model says at the nodes of a draft; -1 is the tip."""

    def has(self, node: int) -> bool:
        """Whether the node was evaluated: a pass may have had no room for it."""
        ...

    def token(self, node: int) -> int:
        """The token drawn after it: what plain decoding would write there."""
        ...

    def row(self, node: int) -> Any:
        """[vocab] log-probabilities after it that tokens are drawn from: warped, tempered, truncated."""
        ...


class Shadow(Protocol):
    """A text that a drafting model follows; what it costs goes to the actual book alone."""

    @property
    def sure(self) -> Sequence[float]:
        """How likely the model held each token of the last write; empty if it cannot say."""
        ...

    async def follow(self, tokens: Sequence[int]) -> None:
        """Go to exactly these tokens."""
        ...

    async def write(self, count: int) -> list[int]:
        """Write at most so many tokens with the noise of the tip: what the model would write itself."""
        ...

    def close(self) -> None: ...


class Studio(Protocol):
    """What a source has at hand."""

    vocab: int
    tokenizer: Any
    ends: frozenset[int]
    layers: int
    shares_noise: bool  # whether drafts may know `Tip.key`: only a rule that draws by it allows that
    pace: dict[str, Any]  # numbers that last: of this drafter and share, from request to request

    def clock(self) -> float:
        """Seconds, from whenever."""
        ...

    def seconds(self, rows: int, model: str = "") -> float:
        """What a pass of so many rows takes, as measured; of another model of the engine, if one is named."""
        ...

    def plain(self, rows: int, model: str = "") -> float:
        """The same where nobody drafts for any of them: such passes may follow one another at once."""
        ...

    def luck(self, name: str) -> Chance:
        """Chance for what a source tries: it may change the cost, never the text."""
        ...

    def chance(self, tip: Tip) -> Chance:
        """Chance for drafts that are drawn: apart from that of the text."""
        ...

    def shadow(self, tip: Tip, model: str = "") -> Shadow:
        """The tip's text on another model of the engine; where that has another vocabulary, by text.

        Raises BadInput where it cannot read the text, UnknownName where there is none.
        """
        ...


class Sketching(NamedTuple):
    """What a source says that drafts with a variant of the model itself: `Source.sketching`."""

    name: str
    n: int  # tokens at most
    variant: Variant
    least: float = 0.0  # a draft ends before a token that the variant holds less likely than this


@runtime_checkable
class Source(Protocol):
    """The live half of a drafter. One that must compute has `async def think`, called in place of
    `propose`, and if it need not always, `thinks: bool`, whether to before the pass to come; one that is a
    variant of the model has `sketching`."""

    name: str
    tops: int  # how many of the likeliest tokens it wants to hear of every checked row
    # one that may sleep has `wakes(branches, rows) -> bool`: asked once before a pass of so many branches on
    # so many rows, as branches that wrote the same share one; where it does not, it is neither asked nor
    # told, but of texts that end. `hopes: bool`: whether it may wake one day, be it where others write; where
    # it does not, it is not even told of ends, and not asked for some 30 ms. `naps() -> int`: for how many
    # such questions more it will say no; `slept(count)`: so many were not asked, maybe some more

    def propose(self, tip: Tip, depth: int, nodes: int) -> Draft | None:
        """A guess of what comes after the tip: at most `nodes` tokens, no path longer than `depth`."""
        ...

    def observe(self, tip: Tip, outcome: Outcome) -> None:
        """Hear what was written, after every step of every tip, drafted by this source or not."""
        ...

    def end(self, tip: Tip) -> None:
        """The stretch has ended."""
        ...


@runtime_checkable
class Drafter(Protocol):
    """Guesses what a branch will write. Frozen: its repr is its configuration."""

    def open(self, studio: Studio) -> Source: ...


class AcceptRule(Protocol):
    """Which nodes of a draft are written. `lossless`: what is written has the model's own distribution."""

    lossless: bool
    reads_rows: bool  # whether it needs Target.row

    def __call__(
        self, target: Target, draft: Draft, chance: Callable[[str], Chance], position: int
    ) -> Accepted: ...


class Needed(NamedTuple):
    """A model that drafts, and the type that it is to be loaded in: "" is that of the model it drafts for."""

    model: str
    dtype: str = ""

    @property
    def place(self) -> str:
        """What it is called in an engine, which may hold the same model in several types."""
        return f"{self.model} in {self.dtype}" if self.dtype else self.model


def models_of(part: Any) -> list[Needed]:
    """The models that a drafter and the drafters in its fields draft with."""
    if not is_dataclass(part):
        return []
    named = getattr(part, "model", "")
    found = [Needed(named, getattr(part, "dtype", ""))] if isinstance(named, str) and named else []
    for field in fields(part):
        value = getattr(part, field.name)
        for inner in value if isinstance(value, tuple) else (value,):
            found += models_of(inner)
    return found
