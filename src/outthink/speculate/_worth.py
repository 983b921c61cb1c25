"""Whether drafting pays, decided before it costs: by v(rows), the cost of asking, and how drafts have fared.

before a pass of b branches on r rows (those that wrote the same share one)
    hope(b) = max over depth d of  (1 + a + ... + a^d) p(r) / (v(r + r d) + b ask),   a = USUAL
    below MARGIN even drafts that fare well cannot win: nobody is asked, nobody is told
after every WINDOW steps in which somebody was asked, or as soon as LOSS is lost
    plain   = sum of p(r) / b                          the steps without their drafts
    drafted = sum of their share of v(rows) + asking
    gain    = tokens written - MARGIN x drafted / (plain / steps)     in plain steps
    balance = at most CREDIT of what was gained and not lost again
    balance below 0: rest for -balance / SHARE steps, twice as long each time, then begin with 0 again
after every LOOK windows that were won: rest for one, in which p is measured again

p(b) is v(b) where nobody drafts: then passes follow one another without a look in between. All of it is
arithmetic on what was measured; no step waits for a clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

USUAL = 0.8  # how often a token of a good drafter is right, once those before it are
DEEPEST = 8  # tokens of a chain that may be hoped for
MARGIN = 1.03  # by how much drafting must win
WINDOW = 16  # steps after which it is judged
LOSS = 2.0  # plain steps that one window may lose
SHARE = 0.01  # of all time that may go into drafts that were in vain
CREDIT = 32.0  # plain steps: after good luck it bears so much bad luck
LONGEST_REST = 1024 * WINDOW  # steps
LOOK = 64  # windows
FRESH = 256  # how often a verdict is used before v is looked at again
ASK = 1e-5  # seconds of asking, as long as none was measured
FORGET = 0.9  # of the cost of asking, a step


class Times(Protocol):
    """Seconds of a pass of so many rows, and of one where nobody drafts."""

    def seconds(self, rows: int) -> float: ...

    def plain(self, rows: int) -> float: ...


class Crowd(NamedTuple):
    """Who writes in a pass: so many branches, on so many rows."""

    branches: int
    rows: int

    def plain(self, times: Times) -> float:
        """A branch's share of the pass without drafts, in seconds."""
        return times.plain(self.rows) / self.branches


ALONE = Crowd(1, 1)


def best(
    times: Times, crowd: Crowd, ask: float, right: float, deepest: int, token: float = 0.0
) -> tuple[float, int]:
    """(by how much chains can win: tokens a second with them over without, how deep they then are).

    A token is right with probability `right` once those before it are; one more for all takes `token`.
    """
    branches, rows = crowd
    gained, likely, found, plain, v = 1.0, 1.0, (0.0, 0), times.plain(rows), times.seconds
    most = plain * (deepest + 1 if right == 1 else (1 - right ** (deepest + 1)) / (1 - right))
    for depth in range(1, deepest + 1):
        likely *= right
        gained += likely
        seconds = v(rows + rows * depth) + branches * ask + depth * token
        found = max(found, (gained * plain / seconds, depth))
        if most < found[0] * seconds:
            break  # more rows never take less time
    return found


def hope(times: Times, crowd: Crowd, ask: float) -> float:
    """By how much drafts that are looked up can win at best where such a crowd writes."""
    return best(times, crowd, ask, USUAL, DEEPEST)[0]


class Worth:
    """Whether to ask, for one drafter; it may outlive a request."""

    def __init__(self) -> None:
        self.ask = ASK
        self.resting = 0  # steps left
        self.rest = 0  # the length of the last one
        self.balance = 0.0  # plain steps
        self.losses = 0  # rests since a window was won
        self.won = 0  # windows, since plain steps were last seen
        self._verdicts: dict[Crowd, bool] = {}
        self._alone: bool | None = None  # whether a single branch can win; None: not looked at
        self.looks = (
            False  # whether it rests, when it does, to see what plain steps take: nobody should draft then
        )
        self._uses = 0
        self._verdict = True  # the last one
        self._crowd, self._heard, self._rows, self._more = ALONE, 0, 0, 0  # of the pass under way
        self._clear()

    def _clear(self) -> None:
        self.steps = self.written = 0
        self.plain = self.drafted = 0.0

    def wakes(self, crowd: Crowd, times: Times, hope: Callable[[Times, Crowd, float], float] = hope) -> bool:
        """Whether to ask in a pass of such a crowd; a question, and `slept` for each branch but one."""
        if self.resting > 0:
            self.resting -= 1
            return False
        self._crowd, self._heard, self._rows, self._more = crowd, 0, 0, 0
        self._uses += 1
        if self._uses > FRESH:
            self._uses, self._alone = 0, None
            self._verdicts.clear()
        verdict = self._verdicts.get(crowd)
        if verdict is None:
            verdict = self._verdicts[crowd] = hope(times, crowd, self.ask) >= MARGIN
        self._verdict = verdict
        return verdict

    def may_wake(self, times: Times, hope: Callable[[Times, Crowd, float], float] = hope) -> bool:
        """Whether it may ask one day, be it where fewer write: else nothing needs to be known for then."""
        if self._alone is None:
            self._alone = hope(times, ALONE, self.ask) >= MARGIN
        return self._alone

    def veto(self, crowd: Crowd) -> None:
        """No after all, for as long as a verdict holds."""
        self._verdict = self._verdicts[crowd] = False

    def naps(self) -> int:
        """How often it will say no from here on, at the least."""
        if self.resting > 0:
            return self.resting
        return 0 if self._verdict else max(1, FRESH - self._uses)

    def slept(self, count: int) -> None:
        """So often it was not asked, and would have said no."""
        if self.resting > 0:
            self.resting = max(0, self.resting - count)
        else:
            self._uses += count

    def step(self, tokens: int, rows: int, asking: float, times: Times) -> None:
        """A branch wrote so many tokens in a step that brought so many rows; asking took so long.

        It takes v(r) / b, and what its rows beyond r / b add to those of the branches before it.
        """
        self.ask = FORGET * self.ask + (1 - FORGET) * asking
        (branches, usual), before, v = self._crowd, self._more, times.seconds
        self._rows += rows
        self._heard += 1
        self._more = max(0, round(self._rows - self._heard * usual / branches))
        more = v(usual + self._more) - v(usual + before) if self._more != before else 0.0
        self.steps += 1
        self.written += tokens
        self.plain += self._crowd.plain(times)
        self.drafted += v(usual) / branches + more + asking
        gain = self.written - MARGIN * self.drafted * self.steps / self.plain if self.plain else 0.0
        if self.steps >= WINDOW or gain < -LOSS:
            self._judge(gain)
            self._clear()

    def _judge(self, gain: float) -> None:
        self.balance = min(self.balance + gain, CREDIT)
        if gain >= 0:
            self.losses = 0
            self.won += 1
            if self.won == LOOK:
                self.resting, self.won, self.looks = WINDOW, 0, True
        elif self.balance < 0:
            length = -self.balance / SHARE * 2.0**self.losses
            self.rest = self.resting = int(min(max(length, WINDOW), LONGEST_REST))
            self.losses, self.balance, self.won = min(self.losses + 1, 16), 0.0, 0
            self.looks = False
