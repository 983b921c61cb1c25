"""The one handle: a position in the shared token tree, and the verbs that spend.

Sync methods never touch the model; `await` is where money goes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from outthink.core import rng
from outthink.core.draft import Draft
from outthink.core.errors import BadInput, Misuse, PromptTooLong
from outthink.core.jobs import Drawn
from outthink.core.receipt import Cost
from outthink.core.samples import Sampled
from outthink.core.tasks import Task, current, evaluate, running
from outthink.core.trampoline import call_depth
from outthink.core.tree import Cursor
from outthink.core.types import Answer, Budget, Candidate, Dist, Finish, Sampling, Want
from outthink.core.work import (
    Ask,
    Limit,
    Offer,
    Peek,
    Pick,
    PickWork,
    Place,
    ReadWork,
    Rows,
    RunLike,
    WriteWork,
)

if TYPE_CHECKING:
    from outthink.core.problem import Problem

PLAIN = Sampling()


class Branch:
    """A position in the shared token tree. Engine thread only. Tokens and texts are what comes after the
    prompt.

    `path` grows by fork, rewind and open, and keys all chance: the same seed gives the same text whatever
    else runs.
    """

    __slots__ = (
        "run",
        "place",
        "cursor",
        "path",
        "key",
        "origin",
        "logps",
        "stats",
        "sampling",
        "is_closed",
        "owner",
        "_born",
        "_busy",
        "_problem",
        "dist",
    )

    def __init__(self, run: RunLike, place: Place, cursor: Cursor, path: tuple[int, ...], key: int) -> None:
        self.run = run
        self.place = place
        self.cursor = cursor
        self.path = path
        self.key = key
        self.origin = cursor.length
        self.logps: list[float | None] = []
        self.stats: dict[str, list[float]] = {}
        self.sampling = PLAIN
        self.is_closed = False
        self.owner: Task | None = running()
        self._born = 0
        self._busy = False
        self._problem: Problem | None = None
        self.dist: Dist | None = None
        if self.owner is not None:
            self.owner.branches[self] = None
        run.born(self)

    def __repr__(self) -> str:
        return f"Branch({'/'.join(map(str, self.path)) or 'root'}, {len(self)} tokens)"

    def __len__(self) -> int:
        return self.cursor.length - self.origin

    # ---- free

    @property
    def problem(self) -> Problem:
        """The run's problem; below `ask(..., is_problem=True)`, the same one asked in other words."""
        return self._problem or self.run.problem

    @property
    def tokens(self) -> list[int]:
        return self.place.tree.tokens(self.cursor, self.origin)

    def text(self, since: int = 0) -> str:
        """The text after the prompt, from token `since` on."""
        text: str = self.place.tokenizer.decode(self.place.tree.tokens(self.cursor, self.origin + since))
        return text

    @property
    def logprob(self) -> float:
        """The log-probability of all that was written here."""
        return sum(p for p in self.logps if p is not None)

    @property
    def budget(self) -> dict[str, float]:
        """What is left here of each capped resource that is reserved."""
        scope = current().scope
        return {r: left for r in ("written", "positions", "flops") if (left := scope.room(r)) != float("inf")}

    def chance(self, purpose: str) -> rng.Chance:
        """The five verbs of chance, for one purpose on this branch; purposes are disjoint."""
        return rng.Chance(rng.purpose(self.key, "strategy:" + purpose))

    def fork(self, n: int = 1) -> list[Branch]:
        """n branches from here; the cache is shared, copy-on-write.

        Where more would live than a request may have, a search that keeps something back for its end ends
        now, as if a budget had, or else the request, with the best answer on offer. BadInput if there is
        none, or if n is more than that by itself.
        """
        self._check_open()
        if n < 1:
            raise BadInput(f"fork({n}): give at least 1")
        self.run.need_room(n)  # before the first is made: making thousands in vain takes seconds
        return [self._fork_one() for _ in range(n)]

    def _fork_one(self) -> Branch:
        child = self._child(self.place, self.place.tree.fork(self.cursor))
        child.origin = self.origin
        child.logps = list(self.logps)
        child.stats = {name: list(values) for name, values in self.stats.items()}
        child.sampling = self.sampling
        child.dist = self.dist
        child._problem = self._problem
        self.run.forked(child, self)
        return child

    def _child(self, place: Place, cursor: Cursor) -> Branch:
        path, key = self._next_key()
        return Branch(self.run, place, cursor, path, key)

    def _next_key(self) -> tuple[tuple[int, ...], int]:
        k, self._born = self._born, self._born + 1
        return (*self.path, k), rng.child(self.key, k)

    def close(self, keep: bool = False) -> None:
        """Give the branch up; cache that only it held is freed at once. Closing twice is nothing.

        With `keep` the cache stays until its room is needed: for a text that may well be written again.
        """
        if self.is_closed:
            return
        if self._busy:
            raise Misuse(f"{self} is closed while something is computed on it")
        self._close("dropped", keep)

    def _close(self, why: str, keep: bool = False) -> None:
        """Give it up, and say why: "done" or "killed" with its task, or "dropped" by its strategy."""
        self.run.closed(self, why)
        self.is_closed = True
        if self.owner is not None:
            self.owner.branches.pop(self, None)
        self.run.live -= 1
        self.place.tree.close(self.cursor, keep)

    def rewind(self, length: int) -> None:
        """Go back to the first `length` tokens after the prompt; what is written next is drawn anew."""
        self._check_open()
        if not 0 <= length <= len(self):
            raise BadInput(f"rewind({length}): the branch has {len(self)} tokens")
        self.place.tree.rewind(self.cursor, self.origin + length)
        del self.logps[length:]
        for values in self.stats.values():
            del values[length:]
        self.dist = None
        self.path, self.key = self._next_key()
        self._born = 0

    def record(self, *stats: str) -> None:
        """Record these statistics for every token written from here on, here and on later forks."""
        known = dict.fromkeys((*self.sampling.stats, *stats))
        self.sampling = replace(self.sampling, stats=tuple(known))

    def offer(self, answer: Answer, rank: float | None = None) -> None:
        """The answer, if the budget ends now. Among one call's offers the highest `rank` (the score)
        stands."""
        rank = answer.score if rank is None else rank
        self.run.offer(
            Offer(call_depth(current().depth), -math.inf if rank is None else rank, self.path, answer)
        )

    def stands(self, rank: float) -> bool:
        """Whether an offer of that rank, made here and now, would be the best, or somebody hears of every
        one: else there is no need to make it."""
        return self.run.stands(call_depth(current().depth), rank, self.path)

    def publish(self, length: int) -> None:
        """Promise that the answer begins with the first `length` tokens of this branch: they may be
        streamed."""
        self.run.published(self, length)

    def degrade(self, what: str, why: str) -> None:
        """Say on the receipt, once for each `what`, that something is less than was asked for."""
        self.run.degrade(what, why)

    def limit(self, name: str, keep: Budget | None = None, **caps: Any) -> Limit:
        """`with branch.limit("think", written=500):` caps what the block spends; `keep` leaves that much for
        after.

        When the cap is reached every task inside is ended and the block is left; only its own exhaustion is
        swallowed. With `keep`, be it empty, a few branches are kept for after, too. `keep` looks at what is
        left when the block begins, which depends on when if others spend from the same scope: begin with it,
        or within a `limit` of your own.
        """
        return Limit(self.run, name, Budget(**caps), keep)

    def candidate(self, answer: Answer) -> Candidate:
        """What a verifier gets to judge: the answer, on the branch that it was written on.

        Where that is closed, what the answer knows of itself is `sampled`: this branch is only to ask from.
        """
        on = answer.branch if answer.branch is not None and not answer.branch.is_closed else self
        knows_nothing = answer.logprob is None and not answer.stats
        if on is not self or knows_nothing or self.text() == answer.text:
            return Candidate(answer.text, self.problem, answer.final, tuple(on.tokens), on)
        known = Sampled(answer.final, answer.text, answer.tokens, answer.logprob, stats=answer.stats)
        return Candidate(answer.text, self.problem, answer.final, None, self, known)

    # ---- what spends

    async def look(self, want: Want) -> Dist:
        """The next-token distribution here, reduced to `want`."""
        [dist] = await self._read([Ask(self.cursor, self.cursor.length, want)])
        self.dist = dist
        return dist

    async def hidden(self, lengths: Sequence[int]) -> list[tuple[float, ...]]:
        """The hidden states [len(lengths)][width] behind so many tokens after the prompt; 0: its own end.

        The output of the model's last norm, gain included. One position each is evaluated (again, where the
        token had cache). Raises BadInput for a length that the branch has not, CannotDo for an endpoint.
        """
        bad = next((n for n in lengths if not 0 <= n <= len(self)), None)
        if bad is not None:
            raise BadInput(f"hidden({bad}): the branch has {len(self)} tokens")
        wanted = dict.fromkeys(lengths)
        asks = [Ask(self.cursor, self.origin + n, Want(hidden=True)) for n in wanted]
        found = dict(zip(wanted, await self._read(asks), strict=True)) if asks else {}
        return [found[n].hidden or () for n in lengths]

    async def extend(self, content: str | Sequence[int], want: Want | None = None) -> Rows:
        """Append given text or tokens. With `want` each token is scored and each row before it reduced;
        without, nothing is computed until someone needs it.
        """
        self._check_open()
        tokens = self._encode(content)
        start = self.cursor.length
        self._check_room(len(tokens))
        tree = self.place.tree
        tree.extend(self.cursor, tokens, keep=True)
        self.dist = None
        current().scope.charge(Cost(read=len(tokens)))
        dists: list[Dist] = []
        if want is not None:
            asks = [Ask(self.cursor, start + i, replace(want, token=t)) for i, t in enumerate(tokens)]
            dists = await self._read(asks)
        logps = [d.logprob for d in dists] if dists else [None] * len(tokens)
        self.logps.extend(logps)
        for values in self.stats.values():
            values.extend([float("nan")] * len(tokens))
        return Rows(tuple(p for p in logps if p is not None), tuple(dists))

    async def score_prompt(self, want: Want) -> Rows:
        """How the prompt itself scores: as `extend` would have, from its second token on. Writes nothing."""
        tokens = self.place.tree.tokens(self.cursor)[: self.origin]
        asks = [Ask(self.cursor, i, replace(want, token=t)) for i, t in enumerate(tokens) if i]
        dists = await self._read(asks)
        return Rows(tuple(d.logprob for d in dists if d.logprob is not None), tuple(dists))

    async def peek(self, draft: Draft, want: Want) -> Peek:
        """Evaluate a token tree below the tip without committing to any of it."""
        self._check_open()
        tree = self.place.tree
        self._check_room(len(draft.tokens))
        cursors: list[Cursor] = []
        try:
            for token, parent in zip(draft.tokens, draft.parents, strict=True):
                cursor = tree.fork(self.cursor if parent < 0 else cursors[parent])
                tree.append(cursor, token)
                cursors.append(cursor)
            dists = await self._read([Ask(c, c.length, want) for c in cursors])
        finally:
            for cursor in cursors:
                tree.close(cursor)
        return Peek(draft, tuple(dists))

    async def generate(self, sampling: Sampling | None = None) -> Finish:
        """Write until end of text, a stop, or the length cap; `sampling` defaults to the run's.

        Raises PromptTooLong where the context is full already.
        """
        sampling = sampling or self.sampling
        stats = dict.fromkeys((*self.sampling.stats, *sampling.stats))
        if tuple(stats) != sampling.stats:
            sampling = replace(sampling, stats=tuple(stats))
        self._check_open()
        self._check_room(1)
        if sampling.temperature == 0:
            self.run.writes_surely(self, sampling)
        finish: Finish = await waited([self], WriteWork(self, sampling))
        return finish

    async def choose(self, token: int, dist: Dist) -> Finish:
        """Write one token that a strategy has chosen; `dist` is what a `look` here has given.

        It is paid for like any written token, but nothing is evaluated for it: its log-probability and the
        statistics that this branch records are read off `dist`. The text ends if it is an end token. Raises
        BadInput if `dist` does not have them, PromptTooLong where the context is full already.
        """
        pick = self.pick(token, dist)
        [is_end] = self.run.write_now([pick]) or await waited([self], PickWork([pick]))
        text = self.place.tokenizer.decode([token])
        return Finish("eos" if is_end else "length", text, 1, pick.drawn.logprob)

    def pick(self, token: int, dist: Dist) -> Pick:
        """A token to write here, as `choose` and `together.choose` take it. Raises as `choose` does."""
        self._check_room(1)
        logprob = next((p for t, p in dist.top if t == token), None)
        names = self.sampling.stats
        if logprob is None or any(name not in dist.stats for name in names):
            lacking = ", ".join(name for name in names if name not in dist.stats)
            what = lacking or f"token {token} among its likeliest"
            raise BadInput(f"choose({token}): the distribution lacks {what}; look for more here first")
        return Pick(self, Drawn(token, logprob, tuple(dist.stats[name] for name in names)))

    async def open(self, prompt: str | Sequence[int], model: str | None = None) -> Branch:
        """A new root: another prompt, on this model or another; same ledger, own chance."""
        place = self.run.place(model)
        tokens = list(prompt) if not isinstance(prompt, str) else place.tokenizer.encode(prompt)
        if len(tokens) >= place.context:
            raise PromptTooLong(
                f"a prompt of {len(tokens)} tokens does not fit the context of {place.context}"
            )
        path, key = self._next_key()
        if place is not self.place:
            key = rng.child(key, rng.digest(place.label))
        self.run.need_room(1)  # before the tree knows of it
        branch = Branch(self.run, place, place.tree.open(tokens, salt=self.run.salt), path, key)
        branch.sampling = self.sampling
        current().scope.charge(Cost(read=len(tokens)))
        return branch

    async def ask(self, question: str, model: str | None = None, is_problem: bool = False) -> Branch:
        """A new root: a question in that model's chat template. With `is_problem` it stands for the problem's
        own prompt: strategies and verifiers below see it there.
        """
        tokens = self.run.place(model).tokenizer.chat([{"role": "user", "content": question}])
        branch = await self.open(tokens, model)
        branch._problem = replace(self.problem, prompt=question) if is_problem else self._problem
        return branch

    async def _read(self, asks: list[Ask]) -> list[Dist]:
        dists: list[Dist] = await waited([self], ReadWork(self, asks))
        return dists

    def _encode(self, content: str | Sequence[int]) -> list[int]:
        if isinstance(content, str):
            tokens: list[int] = self.place.tokenizer.encode(content, special=False)
            return tokens
        bad = next((t for t in content if not 0 <= t < self.place.vocab), None)
        if bad is not None:
            raise BadInput(f"token {bad} is outside the vocabulary of {self.place.vocab}")
        return list(content)

    def _check_open(self) -> None:
        if self.is_closed:
            raise Misuse(f"{self} is closed")
        if self._busy:
            raise Misuse(f"{self} waits for something already: one pending await per branch")

    def _check_room(self, n: int) -> None:
        if self.cursor.length + n > self.place.context:
            raise BadInput(
                f"the context of {self.place.context} tokens is full: {self.cursor.length} used, {n} asked"
            )


async def waited(branches: Sequence[Branch], work: Any) -> Any:
    """Have work done for these branches, each of which waits for nothing else meanwhile."""
    for branch in branches:
        branch._check_open()
    for branch in branches:
        branch._busy = True
    try:
        return await evaluate(work)
    finally:
        for branch in branches:
            branch._busy = False
