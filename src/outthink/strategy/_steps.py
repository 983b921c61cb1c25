"""Steps on branches: the nodes of a step search, and how one step is written."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from outthink.core.branch import Branch
from outthink.core.errors import BudgetExceeded
from outthink.core.types import Answer, Candidate, Sampling
from outthink.text import final_answer


@dataclass(slots=True, eq=False)
class Node:
    """A partial solution: the branch that it is written on, and what a search knows of it."""

    branch: Branch
    known: str | None = None  # `text`, once somebody has asked for it
    ended: str = ""  # how the text ended: "eos", "stop" or "length"; empty while it can go on
    logprob: float = 0.0  # of its last step
    score: float = -math.inf
    count: int = 1  # how often its parent wrote it
    parent: Node | None = None
    children: list[Node] = field(default_factory=list)
    grown: int = 0  # how often it was expanded
    closed: int = 0  # how often all below it that can be were
    visits: int = 0
    total: float = 0.0  # the sum of the values that were backed up through it

    @property
    def text(self) -> str:
        """All that is written after the prompt, stop text left out; to be asked for while the branch is
        open."""
        if self.known is None:
            self.known = read_off(self.branch, self.ended)[0]
        return self.known

    @property
    def is_complete(self) -> bool:
        """Whether the text ended by itself, not by a cap."""
        return self.ended in ("eos", "stop")

    def answer(self) -> Answer:
        """The text so far, as an answer; what has not ended would only stand if the budget ended now."""
        score = None if self.score == -math.inf else self.score
        final = final_answer(self.text).value
        return Answer(self.text, final, score, self.ended or "budget", len(self.branch), branch=self.branch)

    def candidate(self) -> Candidate:
        """What a verifier gets to judge."""
        return self.branch.candidate(self.answer())


# Ranks of offers. A complete answer that was judged has its score, at least LOWEST. Below lie complete ones
# that were not judged yet, then unfinished text that was judged (divided by how many offers there were: the
# later, the higher), then unfinished text that was not (divided by its length: the longer, the higher).
LOWEST, UNJUDGED, UNFINISHED, WRITTEN = -1e290, -1e295, -1e300, -1e305


def offer_unjudged(node: Node) -> None:
    """Offer what has just been written, in case the budget ends before its round does."""
    rank = UNJUDGED if node.is_complete else WRITTEN / (1 + len(node.branch))
    if node.branch.stands(rank):
        node.branch.offer(node.answer(), rank)


def ranked(nodes: Iterable[Node]) -> list[Node]:
    """Highest score first; equal scores in the order of their branches' paths."""
    return sorted(nodes, key=lambda node: (-node.score, node.branch.path))


def longest(root: Branch) -> float:
    """How many tokens a branch below `root` may have, by the run's sampling."""
    most = root.sampling.max_tokens
    return math.inf if most is None else len(root) + most


def room_on(branch: Branch, limit: float) -> int:
    """How many more tokens a branch may get; the model's context is a limit too."""
    return int(min(limit - len(branch), branch.place.context - branch.cursor.length))


class Steps(NamedTuple):
    """Where steps end: after `delimiter`, or after `tokens` tokens; `limit` is the longest a branch may
    get."""

    delimiter: str
    tokens: int
    limit: float
    base: Sampling  # the run's
    sampling: Sampling  # of a step that has room for all of `tokens`

    @classmethod
    def of(cls, part: Any, root: Branch) -> Steps:
        """As a strategy's fields `step` and `step_tokens` and the run's sampling say."""
        sampling = _until(root.sampling, part.step, part.step_tokens)
        return cls(part.step, part.step_tokens, longest(root), root.sampling, sampling)

    async def write(self, branch: Branch, parent: Node | None, temperature: float | None = None) -> Node:
        """One step more on a branch, as a node.

        A step is text up to and with the delimiter that follows some content, so blank lines belong to the
        step after them. One that is longer than `tokens` is cut there, and the receipt says so.
        """
        base = branch.sampling
        if temperature is not None:
            base = replace(base, temperature=temperature)
        common = self.sampling if base is self.base else None
        begin, written, ended = len(branch), "", "" if room_on(branch, self.limit) >= 1 else "length"
        while not (written.strip() or ended):
            most = min(room_on(branch, self.limit), self.tokens)
            whole = common if most == self.tokens else None
            finish = await branch.generate(whole or _until(base, self.delimiter, most))
            written += finish.text
            ended = self._ended(branch, finish.reason, finish.stopped_on)
        return _written(branch, ended, begin, parent)

    async def write_all(self, branch: Branch, parent: Node | None, temperature: float | None = None) -> Node:
        """All steps that are left on a branch, written at once, as one node; what is written by the end of a
        budget is on offer."""
        base = branch.sampling if temperature is None else replace(branch.sampling, temperature=temperature)
        begin, room = len(branch), room_on(branch, self.limit)
        if room < 1:
            return _written(branch, "length", begin, parent)
        try:
            finish = await branch.generate(replace(base, keep_stop=True, max_tokens=room))
        except BudgetExceeded:
            offer_unjudged(Node(branch, parent=parent))
            raise
        return _written(branch, finish.reason, begin, parent)

    def _ended(self, branch: Branch, reason: str, stopped_on: str) -> str:
        """How a stretch of writing ended the text; empty if only a step has ended."""
        is_step = reason == "stop" and stopped_on == self.delimiter
        if not is_step and reason != "length":
            return reason
        if room_on(branch, self.limit) < 1:
            return "length"
        if not is_step:
            branch.degrade(
                "steps", f"no {self.delimiter!r} within {self.tokens} tokens: a step was cut there"
            )
        return ""


def _written(branch: Branch, ended: str, begin: int, parent: Node | None) -> Node:
    """What was written on a branch from its token `begin` on, as a node that is on offer."""
    logprob = sum(p for p in branch.logps[begin:] if p is not None)
    text = None
    if branch.sampling.stop:  # the run's own, which may have ended it
        text, ended = read_off(branch, ended)
    node = Node(branch, text, ended, logprob=logprob, parent=parent)
    offer_unjudged(node)
    return node


def _until(base: Sampling, delimiter: str, most: int) -> Sampling:
    """How a step is written: at most so many tokens, up to and with the delimiter."""
    stops = tuple(dict.fromkeys((delimiter, *base.stop)))
    return replace(base, stop=stops, keep_stop=True, max_tokens=most)


def read_off(branch: Branch, ended: str) -> tuple[str, str]:
    """The text of a branch, and how it ended: the run's own stops end it too, however steps cut them."""
    sampling, text = branch.sampling, branch.text()
    hits = [(at, -len(stop), stop) for stop in sampling.stop if (at := text.find(stop)) >= 0]
    if hits:
        at, _, stop = min(hits)
        return text[: at + len(stop) * sampling.keep_stop], "stop"
    if ended == "stop" and not sampling.keep_stop:  # on a stop token, which is on the branch
        return branch.place.tokenizer.decode(branch.tokens[:-1]), ended
    return text, ended


def check_counts(part: Any, *names: str) -> None:
    """ValueError unless these fields are at least 1 and a step can end."""
    for name in (*names, "step_tokens"):
        if getattr(part, name) < 1:
            raise ValueError(f"{name}={getattr(part, name)}: give at least 1")
    if not part.step:
        raise ValueError("step='': give the text that ends a step")
