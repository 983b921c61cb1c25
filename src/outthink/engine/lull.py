"""A lull: a while in which nobody is asked for drafts, and nobody hears.

    begins      after a pass in which all who draft sleep and hope for nothing, whoever writes
    lasts       as many passes as fit into LULL: hundreds of a small model's, none of a large one's
    ends        by itself, or with a stretch of somebody who does not sleep

To ask whether to ask takes microseconds for every branch and drafter, as long as a hundredth of a pass of a
small model; where that pass takes longer, nothing is saved, and nothing put off.
"""

from __future__ import annotations

LULL = 0.03  # seconds: so much later may drafting begin where it had no hope


class Lull:
    """The one of a place, under way or not."""

    __slots__ = ("left", "gone", "is_silent")

    def __init__(self) -> None:
        self.left = 0  # passes
        self.gone = 0  # that nobody was asked about and nobody told of yet
        self.is_silent = False  # whether nobody is to hear of the pass that is put together

    def begin(self, seconds: float) -> None:
        """For as many passes as fit, where one takes so many seconds."""
        self.left = int(LULL / seconds) if seconds > 0 else 0

    def end(self) -> None:
        """Somebody has come who does not sleep."""
        self.left = 0

    def goes_on(self) -> bool:
        """Whether it lasts for one more pass."""
        self.is_silent = self.left > 0
        if self.is_silent:
            self.skip(1)
        return self.is_silent

    def skip(self, passes: int) -> None:
        """So many more have gone by."""
        self.left, self.gone = max(0, self.left - passes), self.gone + passes

    def over(self) -> int:
        """How many passes it has had, told once."""
        gone, self.gone = self.gone, 0
        return gone
