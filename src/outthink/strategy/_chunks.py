"""Writing a bit at a time, so that a text can be judged, and killed, while it is written."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from outthink.core.branch import Branch
from outthink.core.types import Answer
from outthink.strategy.once import read_off


@dataclass(slots=True)
class Writing:
    """A text in progress: the same tokens as one `generate` would write, in chunks.

    A stop text is found wherever it lies; one that spans two chunks only after the second is written.
    """

    branch: Branch
    start: int = field(init=False)
    reason: str = ""  # why it ended; "" while it goes on

    def __post_init__(self) -> None:
        self.start = len(self.branch)

    async def go_on(self, tokens: int) -> None:
        """Write so many tokens more, or to the end."""
        branch, sampling = self.branch, self.branch.sampling
        room = branch.place.context - branch.cursor.length
        if sampling.max_tokens is not None:
            room = min(room, sampling.max_tokens - (len(branch) - self.start))
        finish = await branch.generate(replace(sampling, max_tokens=min(tokens, room)))
        if await self._cut(sampling.stop, sampling.keep_stop):
            self.reason = "stop"
        elif finish.reason != "length":
            self.reason = finish.reason
        elif finish.tokens >= room:
            self.reason = "length"

    def answer(self) -> Answer:
        """What is written, as an answer."""
        return read_off(self.branch, self.reason)

    async def _cut(self, stops: tuple[str, ...], is_kept: bool) -> bool:
        """Whether a stop text lies in what is written; if so the text is cut there, whole tokens first."""
        branch = self.branch
        text = branch.text(self.start)
        hits = [(at + len(stop), -len(stop), at) for stop in stops if (at := text.find(stop)) >= 0]
        if not hits:
            return False
        end, _, at = min(hits)
        wanted, length = text[: end if is_kept else at], len(branch)
        while not wanted.startswith(text):
            length -= 1
            text = branch.place.tokenizer.decode(branch.tokens[self.start : length])
        branch.rewind(length)
        if text != wanted:
            await branch.extend(wanted[len(text) :])
        return True
