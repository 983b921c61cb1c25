"""Best-first search over tokens that merges hypotheses into a lattice."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import NamedTuple

from outthink.core.branch import Branch
from outthink.core.tasks import gather
from outthink.core.types import Answer, Budget, Can, Want
from outthink.spec import show
from outthink.strategy._search import Best, standing
from outthink.strategy._steps import Node, read_off, room_on
from outthink.strategy._tokens import Chosen, Likely, Tokens, finish_greedily, likeliest, longest_first


class Entry(NamedTuple):
    """A token that may be written next, in the order of the queue: the most probable text first."""

    cost: float  # minus the log-probability of the text with this token
    path: tuple[int, ...]
    rank: int  # of the token among its siblings
    token: int
    node: Node  # what it follows

    @property
    def logprob(self) -> float:
        """Of the token."""
        return -self.cost - self.node.score


class Edge(NamedTuple):
    """A token that leads from one state to another."""

    token: int
    logprob: float
    to: Node


class Path(NamedTuple):
    """A way through the lattice: its tokens below the root, and the state where it ends."""

    tokens: tuple[int, ...]
    end: Node
    last: Node  # the last state before the first merged edge: all up to it was written as it stands here
    length: int  # of the tokens up to there
    merged: float = 0.0  # log-probability of the first merged edge, exact: what it follows was written so

    @property
    def is_written(self) -> bool:
        """Whether no edge of it is merged."""
        return self.last is self.end

    def stands(self, room: int) -> bool:
        """Whether it is a text of its own that ended: a cap cuts another text at another place."""
        return self.is_written or (self.end.is_complete and len(self.tokens) <= room)

    def then(self, edge: Edge) -> Path:
        """This way, and one edge more."""
        tokens = (*self.tokens, edge.token)
        if self.is_written and edge.to.parent is self.end:
            return Path(tokens, edge.to, edge.to, len(tokens))
        return Path(tokens, edge.to, self.last, self.length, edge.logprob if self.is_written else self.merged)


@dataclass(slots=True)
class Graph:
    """The states that were written, by what they end in, and the edges between them."""

    edges: dict[Node, list[Edge]] = field(default_factory=dict)
    states: dict[tuple[int, ...], Node] = field(default_factory=dict)
    numbers: dict[Node, int] = field(default_factory=dict)
    above: dict[Node, int] = field(default_factory=dict)  # a bit for every state that leads to this one
    tails: dict[Node, tuple[int, ...]] = field(default_factory=dict)  # what each state ends in
    merged: int = 0

    def add(self, entry: Entry, to: Node) -> None:
        """An edge for a popped entry."""
        self.edges.setdefault(entry.node, []).append(Edge(entry.token, entry.logprob, to))
        new = self.above.get(entry.node, 0) | 1 << self.number(entry.node)
        below = [to]
        while below:
            node = below.pop()
            if (known := self.above.get(node, 0)) | new != known:
                self.above[node] = known | new
                below += [edge.to for edge in self.edges.get(node, ())]

    def reaches(self, start: Node, goal: Node) -> bool:
        """Whether a path leads from one state to the other."""
        return start is goal or bool(self.above.get(goal, 0) >> self.number(start) & 1)

    def number(self, node: Node) -> int:
        """Its bit in `above`."""
        return self.numbers.setdefault(node, len(self.numbers))

    def costs(self) -> dict[Node, float]:
        """For every state that leads to an end: minus the sum of the edges on the best way there."""
        rest: dict[Node, float] = {}
        for node in self._ends_first():
            cost = min(
                (rest[e.to] - e.logprob for e in self.edges.get(node, ()) if e.to in rest), default=None
            )
            if node.ended or cost is not None:
                rest[node] = cost or 0.0
        return rest

    def _ends_first(self) -> Iterator[Node]:
        """The states that edges touch, each after all that it leads to."""
        left = {node: len(edges) for node, edges in self.edges.items()}  # edges to states not given yet
        above: dict[Node, list[Node]] = {}
        for node, edges in self.edges.items():
            for edge in edges:
                above.setdefault(edge.to, []).append(node)
        ready = [node for node in above if node not in left]
        while ready:
            node = ready.pop()
            yield node
            for parent in above.get(node, ()):
                left[parent] -= 1
                if not left[parent]:
                    ready.append(parent)

    def paths(self, root: Node) -> Iterator[Path]:
        """The ways from the root to an end, best first by the edges' sum."""
        rest = self.costs()
        heap: list[tuple[float, tuple[int, ...], float, Path]] = []
        if root in rest:
            heap.append((rest[root], (), 0.0, Path((), root, root, 0)))
        while heap:
            _, _, cost, path = heapq.heappop(heap)
            if path.end.ended:
                yield path
            for edge in self.edges.get(path.end, ()):
                if edge.to in rest:
                    so_far, longer = cost - edge.logprob, path.then(edge)
                    heapq.heappush(heap, (so_far + rest[edge.to], longer.tokens, so_far, longer))


@dataclass(frozen=True)
class Lattice:
    """Write the most probable unfinished text further, whatever its length; merge texts that end alike.

    queue = {(root, each of its `top` likeliest tokens)}
    until `n` texts have ended, or `expansions` tokens are written:
        pop the most probable text of the queue
        if an unended state ends in the same `ngram` tokens and does not lead here: add an edge to it
        else: write the token, and queue the `top` likeliest tokens after it;
            go on with the likeliest of them until the text ends or merges (with complete=False do not)
    the `n` best paths through the lattice are scored exactly; the most probable one is the answer

    The greedy text is written first, so no answer is less probable than that (but with complete=False).

    Merging is an approximation: what follows a state was written after its first text. With complete=False,
    merge=False and wave=1 the texts that end are the most probable ones of all, in order, but few ever end
    where texts are long. `wave` texts are popped at a time. Probabilities are the model's own. Xu et al.,
    "Massive-scale Decoding for Text Generation using Lattices", arXiv 2112.07660 (best-first search with
    depth-first completion).
    """

    n: int = 8
    expansions: int = 256
    top: int = 4
    ngram: int = 4
    merge: bool = True
    complete: bool = True
    wave: int = 4

    needs = Can.GENERATE | Can.PEEK | Can.SCORE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        for name in ("n", "expansions", "top", "ngram", "wave"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give at least 1")

    async def __call__(self, root: Branch, /) -> Answer:
        tokens, best, graph = Tokens(root), Best(longest_first), Graph()
        start = tokens.start(root)
        graph.tails[start] = tuple(root.tokens[-self.ngram :])
        [queue] = await self._queued([start])
        going: list[Entry] = []  # what is being written to its end
        left, ended = self.expansions, 0
        with root.limit("search", keep=Budget()) as block:  # what is kept for the answer are branches
            while (queue or going) and left and ended < self.n:
                # The greedy text first, when there is nothing to merge it with.
                wave = self.wave if ended or not self.complete else 1
                entries = self._unmerged(going, graph)[:left] or self._pop(queue, graph, min(wave, left))
                left -= len(entries)
                nodes = await self._write(tokens, entries)
                for entry, node in zip(entries, nodes, strict=True):
                    graph.add(entry, node)
                    graph.tails[node] = self._tail(entry, graph)
                    if not node.ended:
                        graph.states.setdefault(graph.tails[node], node)
                ended += sum(bool(node.ended) for node in nodes)
                best.see(nodes)
                found = await self._queued(nodes)
                going = [more.pop(0) for more in found if more and self.complete]
                for entry in chain(*found):
                    heapq.heappush(queue, entry)
        if block.exhausted:
            root.degrade("budget", f"{block.exhausted} ended the search at {len(graph.tails)} states")
        return await self._answer(tokens, best, graph, start)

    async def _queued(self, nodes: Sequence[Node]) -> list[list[Entry]]:
        """For each node what may follow; nothing if it has ended."""
        tops = iter(await likeliest([node for node in nodes if not node.ended], self.top))
        return [[] if node.ended else _entries(node, next(tops)) for node in nodes]

    def _pop(self, queue: list[Entry], graph: Graph, n: int) -> list[Entry]:
        """The next n entries that need writing; what can be merged before them is merged."""
        out: list[Entry] = []
        while queue and len(out) < n:
            out += self._unmerged([heapq.heappop(queue)], graph)
        return out

    def _unmerged(self, entries: list[Entry], graph: Graph) -> list[Entry]:
        """Those of the entries that need writing; the others are merged."""
        out: list[Entry] = []
        for entry in entries:
            key = self._tail(entry, graph)
            state = graph.states.get(key) if self.merge and len(key) == self.ngram else None
            if state is None or graph.reaches(state, entry.node):
                out.append(entry)
            else:
                graph.add(entry, state)
                graph.merged += 1
        return out

    def _tail(self, entry: Entry, graph: Graph) -> tuple[int, ...]:
        """The last tokens of a text with the token of an entry."""
        return (*graph.tails[entry.node], entry.token)[-self.ngram :]

    async def _write(self, tokens: Tokens, entries: list[Entry]) -> list[Node]:
        nodes = await tokens.write([Chosen(entry.node, entry.token) for entry in entries])
        for entry, node in zip(entries, nodes, strict=True):
            node.score = entry.node.score + node.logprob
        return nodes

    async def _answer(self, tokens: Tokens, best: Best, graph: Graph, start: Node) -> Answer:
        """The best paths, scored exactly; if nothing has ended, the longest text written to its end."""
        room = room_on(start.branch, tokens.limit)
        paths = list(islice((path for path in graph.paths(start) if path.stands(room)), self.n))
        if not paths:
            return await finish_greedily(tokens, best.node or start)
        branches = [path.last.branch.fork()[0] for path in paths]
        nodes = await gather(*(_scored(path, branch) for path, branch in zip(paths, branches, strict=True)))
        if best.node is not None and best.node.ended and best.node not in nodes:
            nodes.append(best.node)  # edges of merged paths can promise more than any text keeps
        answers = [node.answer() for node in sorted(nodes, key=standing)[: self.n]]
        return replace(answers[0], others=tuple(answers[1:]))


def _entries(node: Node, likely: Likely) -> list[Entry]:
    """What may follow a node."""
    score, path = node.score, node.branch.path
    return [Entry(-(score + p), path, i, token, node) for i, (token, p) in enumerate(likely)]


async def _scored(path: Path, branch: Branch) -> Node:
    """A path with the log-probability of its own tokens; those after a merged edge are read anew."""
    if path.is_written:
        return path.end
    await branch.extend(path.tokens[path.length : path.length + 1])
    rows = await branch.extend(path.tokens[path.length + 1 :], Want())
    score = path.last.score + path.merged + rows.logprob
    return Node(branch, *read_off(branch, path.end.ended), score=score)
