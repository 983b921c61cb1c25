"""How much is measured: enough for a judgement, or just enough to see that it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Rounds are the most that are done, seconds end them earlier; all of one model."""

    rounds: int = 40
    seconds: float = 15.0  # of one contest
    cell: float = 8.0  # of one cell of the table that says whether auto is never slower, with one request
    crowd: float = 24.0  # and with several at once
    again: int = 3  # times that a cell is measured again at most
    trials: int = 9  # of a timed pass
    texts: int = 3  # that are taken apart


FULL = Sizes()
QUICK = Sizes(rounds=1, seconds=0.5, cell=0.1, crowd=0.1, again=1, trials=1, texts=1)
