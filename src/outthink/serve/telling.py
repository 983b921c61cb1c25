"""What is told of a request while it runs: certain text of its choices, and its branches to those who watch.

Runs in the engine's process. `wrote` only notes that a branch has grown; text is made when news are
collected, a few times in a hundred milliseconds, so that a pass over many branches is not held up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from outthink.core.branch import Branch
from outthink.core.types import Answer
from outthink.engine.request import Run
from outthink.engine.trace import PassInfo, Trace
from outthink.serve.wire import Choice, Lane, News, Order, Piece, Token


class Growing:
    """The text of a branch as it grows, with where each token ends in it."""

    def __init__(self, branch: Branch) -> None:
        self.branch = branch
        self.decoder = branch.place.tokenizer.detokenizer()
        self.path = branch.path
        self.text = ""
        self.ends: list[int] = []

    def is_behind(self) -> bool:
        """Whether the branch went back since: what was read is no longer there."""
        return len(self.branch) < len(self.ends) or self.branch.path != self.path

    def read(self) -> None:
        """Take in what was written since, up to a stop token, or the end token, which has no text."""
        branch, sampling = self.branch, self.branch.sampling
        cut = () if sampling.keep_stop else sampling.stop_tokens
        end = () if sampling.ignore_eos else branch.place.eos
        for token in branch.place.tree.tokens(branch.cursor, branch.origin + len(self.ends)):
            if token in cut:
                return
            self.text += "" if token in end else self.decoder.push(token)
            self.ends.append(len(self.text))

    def tokens(self, first: int, chars: int, top: int) -> list[Token]:
        """Tokens from `first` on that lie within the first `chars` characters, with what they scored."""
        branch, found = self.branch, []
        ids = branch.place.tree.tokens(branch.cursor, branch.origin)
        tops = branch.stats.get(f"top{top}", []) if top else []
        for i in range(first, len(self.ends)):
            if self.ends[i] > chars:
                break
            text = self.text[self.ends[i - 1] if i else 0 : self.ends[i]]
            best = tops[i] if i < len(tops) and isinstance(tops[i], tuple) else ()
            found.append(token_of(branch.place.tokenizer, ids[i], text, branch.logps[i], best))
        return found


def token_of(tokenizer: Any, token: int, text: str, logprob: float | None, best: Any) -> Token:
    """A token as it is told; `best` are (token, log-probability) pairs.

    One that is among the likeliest scores what it scores there: the two come by different roundings, and
    clients compare them to see whether it is the likeliest.
    """
    logprob = next((p for t, p in best if t == token), logprob)
    return Token(token, text, logprob, tuple((t, tokenizer.decode([t]), p) for t, p in best))


def held_back(text: str, stops: Sequence[str]) -> int:
    """How many characters at the end of a text may be the beginning of a stop text."""
    longest = max(map(len, stops), default=0) - 1
    for size in range(min(longest, len(text)), 0, -1):
        tail = text[-size:]
        if any(len(stop) > size and stop.startswith(tail) for stop in stops):
            return size
    return 0


class Told:
    """One choice: what of its text has been told, and its answer once there is one."""

    def __init__(self) -> None:
        self.growing: Growing | None = None  # where the strategy's answer is what it writes on its root
        self.chars = 0
        self.tokens = 0
        self.text = ""  # what has been told
        self.answer: Answer | None = None
        self.scored: list[Token] | None = None

    def tell(self, text: str, tokens: list[Token]) -> Piece:
        """Tell text that is certain."""
        self.text += text
        self.tokens += len(tokens)
        return Piece(text, tokens)

    def more(self, stops: Sequence[str], top: int | None) -> Piece | None:
        """What is certain and new of a branch that is the answer itself."""
        growing = self.growing
        if growing is None or growing.branch.is_closed or growing.is_behind():
            return None
        growing.read()
        certain = len(growing.text) - held_back(growing.text, stops)
        text = growing.text[len(self.text) : certain]
        tokens = [] if top is None else growing.tokens(self.tokens, certain, top)
        return self.tell(text, tokens) if text or tokens else None


class Ticket:
    """An order inside the engine: what is told of it, and what it ends with."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.run: Run | None = None
        self.choices = [Told() for _ in range(order.n)]
        self.prompt: tuple[Token, ...] | None = None
        self.echo = ""
        self.news = News(order.number)
        self.has_news = True  # that it has begun
        self.grown: dict[Branch, None] = {}
        self.lanes: dict[Branch, Growing] = {}
        self.names: dict[Branch, str] = {}
        self.live: dict[Branch, None] = {}
        self.written = 0

    # ---- what the engine tells

    def born(self, branch: Branch) -> None:
        self.live[branch] = None
        if self.order.is_watched:
            name = "/".join(map(str, branch.path))
            self.names[branch], self.lanes[branch] = name, Growing(branch)
            self._lane(branch).is_new = True

    def wrote(self, branch: Branch, tokens: int) -> None:
        self.written += tokens
        if self.order.is_streamed:
            self.grown[branch] = None
            self.has_news = True

    def closed(self, branch: Branch, why: str) -> None:
        self.live.pop(branch, None)
        for told in self.choices:
            if told.growing is not None and told.growing.branch is branch and told.answer is None:
                self._cut(told, branch)
        if branch in self.lanes:
            self._read_lane(branch)
            self._lane(branch).ended = why
            del self.lanes[branch], self.names[branch]
        self.grown.pop(branch, None)

    def published(self, branch: Branch, length: int) -> None:
        """The answer begins so: what is new of it is told."""
        told = self.choices[branch.path[0] if self.order.n > 1 and branch.path else 0]
        if not self.order.is_streamed or told.growing is not None:
            return
        growing = Growing(branch)
        growing.read()
        whole = growing.text[: growing.ends[min(length, len(growing.ends)) - 1]] if length else ""
        if whole.startswith(told.text) and whole != told.text:
            self._tell(told, told.tell(whole[len(told.text) :], []))

    def offered(self, answer: Answer) -> None:
        if self.order.is_watched:
            self.news.best = (answer.text, answer.final, answer.score)
            self.has_news = True

    # ---- what the choices say

    def follow(self, index: int, branch: Branch) -> None:
        """Choice `index` is what is written on this branch, as it is written."""
        self.choices[index].growing = Growing(branch)

    def scored(self, prompt: tuple[Token, ...]) -> None:
        """The log-probabilities of the prompt are known: with them it may be told."""
        self.prompt = prompt
        if self.order.is_echoed:
            self.news.echo = Piece(self.echo, list(prompt))
            self.has_news = True

    def answered(self, index: int, answer: Answer) -> None:
        """Choice `index` has its answer; its branch is still open."""
        told, top = self.choices[index], self.order.logprobs
        told.answer = answer
        branch = answer.branch
        if top is not None and branch is not None and not branch.is_closed:
            growing = Growing(branch)
            growing.read()
            told.scored = growing.tokens(0, len(answer.text), top)

    def _cut(self, told: Told, branch: Branch) -> None:
        """A choice is ended before its answer: what it has written stands."""
        growing = Growing(branch)
        growing.read()
        told.answer = Answer(branch.text(), finish="length", tokens=len(branch))
        if self.order.logprobs is not None:
            told.scored = growing.tokens(0, len(growing.text), self.order.logprobs)

    # ---- news

    def collect(self) -> News | None:
        """What is new since the last time, if anything is."""
        if not self.has_news:
            return None
        if self.order.is_streamed:
            for told in self.choices:
                piece = told.more(self.order.sampling.stop, self.order.logprobs)
                if piece is not None:
                    self._tell(told, piece)
            if self.lanes:
                for branch in [b for b in self.grown if b in self.lanes]:
                    self._read_lane(branch)
        self.grown.clear()
        news, self.news, self.has_news = self.news, News(self.order.number), False
        news.written = self.written
        return news

    def _tell(self, told: Told, piece: Piece) -> None:
        had = self.news.pieces.setdefault(self.choices.index(told), piece)
        if had is not piece:
            had.text += piece.text
            had.tokens += piece.tokens
        self.has_news = True

    def _lane(self, branch: Branch) -> Lane:
        self.has_news = True
        name = self.names[branch]
        return self.news.lanes.setdefault(name, Lane(name))

    def _read_lane(self, branch: Branch) -> None:
        """What is new on a branch that is watched."""
        if branch.is_closed:
            return
        growing, lane = self.lanes[branch], self._lane(branch)
        if growing.is_behind():
            growing = self.lanes[branch] = Growing(branch)
            lane.text, lane.tokens, lane.is_again = "", 0, True
        had, tokens = len(growing.text), len(growing.ends)
        growing.read()
        lane.text += growing.text[had:]
        lane.tokens += len(growing.ends) - tokens

    # ---- the end

    def choices_of(self, answer: Answer) -> tuple[Choice, ...]:
        """The choices when the run has ended; one without an answer of its own gets the run's."""
        found = []
        for told in self.choices:
            own = told.answer
            if own is None:
                own = answer if self.order.n == 1 else Answer("", finish="length")
            found.append(self._choice(told, own, is_whole=told.answer is not None))
        return tuple(found)

    def _choice(self, told: Told, answer: Answer, is_whole: bool) -> Choice:
        finish = "length" if answer.finish in ("length", "budget") or not is_whole else "stop"
        rest = answer.text[len(told.text) :] if answer.text.startswith(told.text) else ""
        tokens = None if told.scored is None else tuple(told.scored)
        left = [] if tokens is None else list(tokens[told.tokens :])
        return Choice(answer.text, finish, answer.final, answer.score, Piece(rest, left), tokens)


class Telling(Trace):
    """Hands what happens to the ticket of the request that it happened in."""

    def __init__(self) -> None:
        names = ("passes", "rows", "written", "forward_seconds", "pass_seconds", "warnings")
        self.totals = dict.fromkeys(names, 0.0)

    def born(self, branch: Branch) -> None:
        _ticket(branch).born(branch)

    def wrote(self, branch: Branch, tokens: Sequence[int]) -> None:
        _ticket(branch).wrote(branch, len(tokens))

    def closed(self, branch: Branch, why: str) -> None:
        _ticket(branch).closed(branch, why)

    def published(self, branch: Branch, length: int) -> None:
        _ticket(branch).published(branch, length)

    def offered(self, run: Run, answer: Answer) -> None:
        run.request.tag.offered(answer)

    def passed(self, info: PassInfo) -> None:
        totals = self.totals
        totals["passes"] += 1
        totals["rows"] += info.rows
        totals["written"] += info.drawn
        totals["forward_seconds"] += info.forward_seconds
        totals["pass_seconds"] += info.seconds

    def warned(self, message: str) -> None:
        self.totals["warnings"] += 1  # counted only: a server that runs for months keeps none


def _ticket(branch: Any) -> Ticket:
    ticket: Ticket = branch.run.request.tag
    return ticket
