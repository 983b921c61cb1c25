"""A stretch of writing in progress: what one `generate` has written so far, and when it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from outthink.core import rng
from outthink.core.drafting import Outcome, Tip
from outthink.core.jobs import Draw, Drawn
from outthink.core.ledger import Request as Reservation
from outthink.core.types import Finish, Sampling
from outthink.decode.sample import warps_of
from outthink.engine.stops import StopText

if TYPE_CHECKING:
    from outthink.core.branch import Branch
    from outthink.core.draft import Draft
    from outthink.core.tasks import Task
    from outthink.engine.growth import Growth
    from outthink.engine.request import Run
    from outthink.engine.speculator import Speculator


class Stretch:
    """Tokens written on a branch by one `generate`."""

    __slots__ = (
        "branch",
        "task",
        "run",
        "sampling",
        "warps",
        "states",
        "key",
        "begin",
        "count",
        "settled",
        "cap",
        "allowed",
        "reservation",
        "logprob",
        "stops",
        "reason",
        "eos",
        "_tip",
        "proposal",
        "growth",
        "thinking",
        "is_thought",
        "speculator",
    )

    def __init__(
        self,
        branch: Branch,
        task: Task,
        run: Run,
        sampling: Sampling,
        cap: int,
        speculator: Speculator | None = None,
    ) -> None:
        self.branch = branch
        self.task = task
        self.run = run
        self.sampling = sampling
        self.warps = warps_of(sampling)
        self.states = self._fold()
        self.key = rng.purpose(branch.key, "token")
        self.begin = branch.cursor.length
        self.count = 0
        self.settled = 0  # tokens that are in the books
        self.cap = cap  # tokens that it may write in all
        self.allowed = cap  # tokens that are reserved for it; with no cap on the budget, all of them
        self.reservation: Reservation | None = None
        self.logprob = 0.0
        self.stops = StopText(branch.place.tokenizer.detokenizer(), sampling.stop) if sampling.stop else None
        self.reason = ""
        self.eos = frozenset() if sampling.ignore_eos else branch.place.eos
        self.speculator = speculator
        self._tip: Tip | None = None
        self.proposal: Draft | None = None  # a draft that is ready for the next pass
        self.growth: Growth | None = None  # a draft that is in the token tree, during a pass
        self.thinking: Task | None = None  # while a model drafts for it
        self.is_thought = False  # whether a model has drafted for the next pass

    @property
    def tip(self) -> Tip:
        """The stretch as drafters see it, from the first time that one looks."""
        if self._tip is None:
            self._tip = self._seen()
        return self._tip

    @property
    def is_seen(self) -> bool:
        """Whether a drafter has looked at it."""
        return self._tip is not None

    def _seen(self) -> Tip:
        branch = self.branch
        tokens, ends = branch.place.tree.tokens(branch.cursor), self.eos.union(self.sampling.stop_tokens)
        assert self.speculator is not None
        about = branch.path, branch.key, self.key, self.speculator.complain
        return Tip(tokens, branch.origin, self.sampling, ends, *about)

    @property
    def position(self) -> int:
        """The index of the token that is written next."""
        return self.branch.cursor.length

    @property
    def depth(self) -> int:
        """How many tokens a draft may be deep: one more is drawn after them, and all must be allowed."""
        return min(self.allowed, self.cap) - self.count - 1

    def _fold(self) -> tuple[Any, ...]:
        """The state of every warp at the tip, folded over exactly the tokens of this branch."""
        if not self.warps:
            return ()
        tokens = self.branch.place.tree.tokens(self.branch.cursor)
        prompt, rest = tokens[: self.branch.origin], tokens[self.branch.origin :]
        states = []
        for warp in self.warps:
            state = warp.start(prompt)
            for token in rest:
                state = warp.next(state, token)
            states.append(state)
        return tuple(states)

    def draw(self, row: int, node: int = -1) -> Draw:
        """Draw the next token after wanted row `row`: that of the tip, or of a node of the draft."""
        if self.growth is None:
            return Draw(row, self.key, self.branch.cursor.length, self.sampling, self.states)
        position, states = self.branch.cursor.length + self.growth.depths[node], self.growth.states[node]
        return Draw(row, self.key, position, self.sampling, states, self.growth.is_whole)

    def take(self, drawn: Mapping[int, Drawn], tops: Mapping[int, Any], rows: int) -> tuple[bool, list[int]]:
        """Take what was drawn after the tip and the nodes of a draft: whether it has ended, what was written.

        Only what an accept rule accepts is written, and nothing beyond the end of the text. `rows` of the
        pass are there for it.
        """
        growth, speculator = self.growth, self.speculator
        assert speculator is not None
        if growth is None:
            path: tuple[int, ...] = ()
            accepted = [drawn[-1]]
        else:
            path, accepted = speculator.accept(self, growth, drawn)
        tokens: list[int] = []
        for one in accepted:
            tokens.append(one.token)
            if self.push(one) or self.is_starved():
                break
        draft = growth.draft if growth is not None else None
        if speculator.rule.reads_rows:  # noise of places not written yet must stay unknown to drafts
            heard = dict(zip((-1, *path), tokens, strict=False))
        else:
            heard = {i: d.token for i, d in drawn.items()}
        outcome = Outcome(draft, heard, path[: len(tokens)], tuple(tokens), tops, rows)
        self.drop_draft()
        speculator.observe(self, outcome)
        return bool(self.reason) or self.is_starved(), tokens

    def drop_draft(self) -> None:
        """Take the draft out of the token tree; what was accepted of it has been written."""
        if self.growth is not None:
            self.growth.close()
            self.growth = None
        self.proposal, self.is_thought = None, False

    def push(self, drawn: Drawn) -> bool:
        """Take a drawn token; whether the stretch has ended, `reason` says why."""
        branch, (token, logprob, stats, _) = self.branch, drawn
        branch.place.tree.append(branch.cursor, token)
        branch.logps.append(logprob)
        if stats:
            for name, value in zip(self.sampling.stats, stats, strict=True):
                branch.stats.setdefault(name, []).append(value)
        self.count += 1
        self.logprob += logprob
        if self.task.contestant is not None:
            self.task.write(1)
        if self.warps:
            self.states = self.following(self.states, token)
        if self._tip is not None:
            self._tip.grow((token,))
        if token in self.eos:
            self.reason = "eos"
        elif token in self.sampling.stop_tokens or (self.stops is not None and self.stops.push(token)):
            self.reason = "stop"
        elif self.count >= self.cap:
            self.reason = "length"
        return bool(self.reason)

    def push_all(self, column: Sequence[Drawn]) -> int:
        """Take the tokens of several steps, the last of which may end the text; how many were taken."""
        if self.sampling.stats or not (
            self.stops is None or self.stops.push_all([d[0] for d in column[:-1]])
        ):
            for count, drawn in enumerate(column, 1):
                if self.push(drawn):
                    return count
            return len(column)
        branch, tokens, logps = self.branch, [d[0] for d in column[:-1]], [d[1] for d in column[:-1]]
        branch.place.tree.append_all(branch.cursor, tokens)
        branch.logps += logps
        if self._tip is not None:
            self._tip.grow(tokens)
        self.count += len(tokens)
        for logprob in logps:
            self.logprob += logprob
        self.push(column[-1])
        return len(column)

    def following(self, states: tuple[Any, ...], token: int) -> tuple[Any, ...]:
        """The states of all warps one token on."""
        return tuple(w.next(s, token) for w, s in zip(self.warps, states, strict=True))

    def is_starved(self) -> bool:
        """Whether all that was reserved is used up, and more was wanted."""
        return self.count >= self.allowed and not self.reason

    def finish(self) -> Finish:
        """End: cut the stop text off the branch if it is not to be kept, and say what was written."""
        stopped_on, stops = "", self.stops
        if self.reason == "stop" and stops is not None and stops.found:
            stopped_on, chars = stops.found, stops.cut(self.sampling.keep_stop)
            if chars == len(stops.text):
                return Finish(self.reason, stops.text, self.count, self.logprob, stopped_on)
            self._cut(stops, chars)
        elif self.reason == "stop" and not self.sampling.keep_stop:
            self._back_to(self.count - 1, [])
        text = self.branch.text(self.begin - self.branch.origin)
        return Finish(self.reason, text, self.count, self.logprob, stopped_on)

    def _cut(self, stops: StopText, chars: int) -> None:
        """Leave exactly `chars` characters: whole tokens, and what remains of a token encoded anew."""
        if not stops.is_exact:
            stops = self._one_by_one(stops)
        whole = stops.tokens_within(chars)
        rest = stops.text[stops.lengths[whole - 1] if whole else 0 : chars]
        self._back_to(whole, self.branch.place.tokenizer.encode(rest, special=False) if rest else [])

    def _one_by_one(self, stops: StopText) -> StopText:
        """The same, with the length of the text after every token."""
        anew = StopText(self.branch.place.tokenizer.detokenizer(), stops.stops)
        for token in self.branch.place.tree.tokens(self.branch.cursor, self.begin):
            anew.push(token)
        return anew

    def _back_to(self, count: int, tokens: Sequence[int]) -> None:
        branch = self.branch
        branch.place.tree.rewind(branch.cursor, self.begin + count)
        branch.place.tree.extend(branch.cursor, tokens)
        keep = self.begin - branch.origin + count
        branch.logps[keep:] = [None] * len(tokens)
        for values in branch.stats.values():
            values[keep:] = [float("nan")] * len(tokens)
