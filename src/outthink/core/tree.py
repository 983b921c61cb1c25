"""The token tree: who shares which tokens, and which of them have cache. Integers only.

    root -- [the prompt ....] -+- [a tail ..
                               +- [another ..

A node is a run of tokens with one extent of cache slots; `computed` says how many of its leading tokens have
cache. A cursor is a position in the tree: (node, offset), offset tokens into the node. Branches hold
cursors; equal tokens from equal places are one node however they were reached, so 64 samples that begin
alike are one row until they part.

Invariants, all in `check()`:
    a node has cache only if all of its ancestors are wholly computed;
    extents do not overlap, and together with the free list they are all slots;
    what no cursor needs is gone, but for tokens that are `kept` (given text, evicted oldest first).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from outthink.core.batch import Move
from outthink.core.slots import Slots


class NoRoom(Exception):
    """Not enough free slots, even after evicting all that nobody refers to."""


class Span(NamedTuple):
    """Tokens `[low, high)` of a node."""

    node: Node
    low: int
    high: int


class Node:
    """A run of tokens below `parent`, the first of them at position `first`; cache at `[start, start +
    cap)`."""

    __slots__ = (
        "parent",
        "first",
        "tokens",
        "computed",
        "start",
        "cap",
        "children",
        "cursors",
        "kept",
        "rows",
    )

    def __init__(self, parent: Node | None, first: int, tokens: list[int]) -> None:
        self.parent = parent
        self.first = first
        self.tokens = tokens
        self.computed = 0
        self.start = 0
        self.cap = 0
        self.children: dict[int | tuple[str, int], Node] = {}  # by first token; of the root by salt, too
        self.cursors: set[Cursor] = set()
        self.rows = [0] * len(tokens)  # the number of each token's row of logits, where a backend has kept it
        self.kept = 0  # leading tokens that stay cached, evictable, when nobody refers to them

    def __repr__(self) -> str:
        return (
            f"Node({self.tokens} from {self.first}, computed {self.computed} of {self.cap} at {self.start})"
        )


class Cursor:
    """A position: `offset` tokens into `node`. Its path has `length` tokens."""

    __slots__ = ("node", "offset")

    def __init__(self, node: Node, offset: int) -> None:
        self.node = node
        self.offset = offset
        node.cursors.add(self)

    @property
    def length(self) -> int:
        return self.node.first + self.offset

    def _to(self, node: Node, offset: int) -> None:
        if node is not self.node:
            self.node.cursors.discard(self)
            node.cursors.add(self)
            self.node = node
        self.offset = offset


class Tree:
    """Token tree of one model over `capacity` cache slots."""

    def __init__(self, capacity: int) -> None:
        self.slots = Slots(capacity)
        self.root = Node(None, 0, [])
        self.idle: dict[Node, None] = {}  # leaves that hold only kept tokens; oldest first
        self.filled = 0  # slots that hold cache
        self.peak = 0  # the most that ever did
        self.version = 0  # changes with nodes, their places and their cache, but not when a leaf grows

    # ---- positions

    def open(self, tokens: Sequence[int], keep: bool = True, salt: str = "") -> Cursor:
        """A cursor at the end of `tokens`, on the longest known prefix and new nodes below it. Paths of
        different salts have nothing in common."""
        cursor = Cursor(self.root, 0)
        if salt and tokens:
            self._step(cursor, (salt, tokens[0]), tokens[0])
            cursor.node.kept = max(cursor.node.kept, int(keep))
            tokens = tokens[1:]
        self.extend(cursor, tokens, keep)
        return cursor

    def fork(self, cursor: Cursor) -> Cursor:
        return Cursor(cursor.node, cursor.offset)

    def append(self, cursor: Cursor, token: int) -> None:
        """Move one token on: along a known continuation, in place at the end of a leaf, or into a new
        child."""
        node, offset = cursor.node, cursor.offset
        if offset < len(node.tokens):
            if node.tokens[offset] == token:
                cursor.offset = offset + 1
                return
            node = self._split(node, offset)
            if cursor.node is not node:  # the split moves cursors beyond the cut only
                raise AssertionError("a cursor left its place in a split")
        elif not node.children and node is not self.root:
            node.tokens.append(token)
            node.rows.append(0)
            cursor.offset = offset + 1
            self._busy(node)
            return
        self._step(cursor, token, token)

    def _step(self, cursor: Cursor, key: int | tuple[str, int], token: int) -> None:
        """Move from the end of a node into its child of that key, which begins with the token."""
        node = cursor.node
        child = node.children.get(key)
        if child is None:
            self.version += 1
            child = node.children[key] = Node(node, node.first + len(node.tokens), [token])
            self.idle.pop(node, None)
        cursor._to(child, 1)
        self._busy(child)

    def append_all(self, cursor: Cursor, tokens: Sequence[int]) -> None:
        """`append` for each: at once where the cursor is at the end of a leaf."""
        node, offset = cursor.node, cursor.offset
        if offset < len(node.tokens) or node.children or node is self.root:
            for token in tokens:
                self.append(cursor, token)
            return
        node.tokens += tokens
        node.rows += [0] * len(tokens)
        cursor.offset = offset + len(tokens)
        self._busy(node)

    def extend(self, cursor: Cursor, tokens: Sequence[int], keep: bool = False) -> None:
        """Append all tokens; `keep` leaves their cache evictable, not freed, once nobody refers to them."""
        for token in tokens:
            self.append(cursor, token)
            node = cursor.node
            if keep and node.kept == cursor.offset - 1:
                node.kept = cursor.offset

    def rewind(self, cursor: Cursor, length: int) -> None:
        """Go back to the first `length` tokens of the path. ValueError outside 0..length."""
        if not 0 <= length <= cursor.length:
            raise ValueError(f"cannot rewind to {length}: the path has {cursor.length} tokens")
        node = old = cursor.node
        while node.first > length or (node.first == length and node.parent is not None):
            assert node.parent is not None
            node = node.parent
        cursor._to(node, length - node.first)
        self._release(old)

    def close(self, cursor: Cursor, keep: bool = False) -> None:
        """Give a position up; what only it held is freed at once, kept tokens become evictable.

        With `keep` all tokens of its path are kept ones.
        """
        node = cursor.node
        if keep:
            self._keep(node, cursor.offset)
        node.cursors.discard(cursor)
        self._release(node)

    def tokens(self, cursor: Cursor, since: int = 0) -> list[int]:
        """The tokens of the path from position `since` on."""
        parts: list[list[int]] = []
        node: Node | None = cursor.node
        end = cursor.offset
        while node is not None and node.first + end > since:
            parts.append(node.tokens[max(0, since - node.first) : end])
            node = node.parent
            end = len(node.tokens) if node is not None else 0
        tokens: list[int] = []
        for part in reversed(parts):
            tokens += part
        return tokens

    def _keep(self, node: Node, offset: int) -> None:
        """Up to `offset` tokens of a node, and all before it, are kept."""
        at: Node | None = node
        while at is not None:
            at.kept = max(at.kept, offset)
            at = at.parent
            offset = len(at.tokens) if at is not None else 0

    # ---- cache

    def missing(self, cursor: Cursor, length: int = -1) -> list[Span]:
        """What must be computed to know the row of the first `length` tokens (default: all), parents first.

        The tokens before it that have no cache, and its own, whether that has cache or not: its logits are
        wanted.
        """
        node = cursor.node
        length = cursor.length if length < 0 else length
        while node.first >= length and node.parent is not None:
            node = node.parent
        end = length - node.first
        spans = [Span(node, min(node.computed, end - 1), end)] if end else []
        while not node.computed and node.parent is not None:
            node = node.parent
            if node.computed < len(node.tokens):
                spans.append(Span(node, node.computed, len(node.tokens)))
        return spans[::-1]

    def reserve(self, node: Node, upto: int, hint: int = 0) -> list[Move]:
        """Slots for the first `upto` tokens of a node; `hint` is how long it may become. Raises NoRoom.

        A range grows in place where it can; else a longer one is taken, and the moves say what to copy.
        """
        if upto <= node.cap:
            return []
        if self.grow(node, upto, hint):
            return []
        want = max(upto, hint)
        start = self._alloc(want)
        if start < 0 and want > upto:
            want = upto
            start = self._alloc(want)
        if start < 0:
            raise NoRoom(f"{want} slots wanted, {self.slots.free_slots} free")
        self.version += 1
        moves = [Move(node.start, start, node.computed)] if node.computed else []
        self.slots.free(node.start, node.cap)
        node.start, node.cap = start, want
        return moves

    def cut(self, node: Node) -> Node:
        """Part a node where its slots end; the lower part, which has none yet, is returned.

        Instead of a move: what is there stays where it is, and goes on elsewhere.
        """
        self._split(node, node.cap)
        return node.children[next(iter(node.children))]

    def grow(self, node: Node, upto: int, hint: int) -> bool:
        """Give a node slots for its first `upto` tokens, up to `hint`, if they are free right behind it."""
        want = max(upto, hint)
        if not (node.cap and self.slots.extend(node.start + node.cap, want - node.cap)):
            return False
        node.cap = want
        return True

    def mark(self, node: Node, upto: int) -> None:
        """The first `upto` tokens of a node have cache now."""
        if upto > node.computed:
            self.filled += upto - node.computed
            self.peak = max(self.peak, self.filled)
            node.computed = upto

    def park(self, node: Node) -> int:
        """Drop the cache of a node and all below it; the tokens stay and are computed again when wanted."""
        freed = sum(self.park(child) for child in node.children.values())
        return freed + self._drop(node, 0)

    def compact(self) -> list[Move]:
        """Move all cache to the front, one extent after another. The moves are to be read all, then written
        all."""
        self.version += 1
        nodes = sorted((n for n in self.nodes() if n.cap), key=lambda n: n.start)
        at, moves = 0, []
        for node in nodes:
            if node.start != at and node.computed:
                moves.append(Move(node.start, at, node.computed))
            node.start, node.cap = at, max(node.computed, 1)
            at += node.cap
        self.slots.reset(at)
        return moves

    def _alloc(self, n: int) -> int:
        start = self.slots.alloc(n)
        while start < 0 and self.idle:
            self._evict(next(iter(self.idle)))
            start = self.slots.alloc(n)
        return start

    def _evict(self, node: Node) -> None:
        node.kept = 0
        self.idle.pop(node, None)
        self._release(node)

    # ---- shape

    def _split(self, node: Node, at: int) -> Node:
        """Cut a node in two; the upper half stays this object, the lower half takes what lies beyond `at`."""
        self.version += 1
        lower = Node(node, node.first + at, node.tokens[at:])
        lower.children, node.children = node.children, {lower.tokens[0]: lower}
        for child in lower.children.values():
            child.parent = lower
        lower.rows = node.rows[at:]
        del node.tokens[at:], node.rows[at:]
        lower.computed, node.computed = max(0, node.computed - at), min(node.computed, at)
        lower.kept, node.kept = max(0, node.kept - at), min(node.kept, at)
        lower.start, lower.cap = node.start + min(at, node.cap), max(0, node.cap - at)
        node.cap -= lower.cap
        for cursor in [c for c in node.cursors if c.offset > at]:
            cursor._to(lower, cursor.offset - at)
        self.idle.pop(node, None)
        if not lower.cursors and not lower.children:
            self._release(lower)
        return node

    def _busy(self, node: Node) -> None:
        if self.idle:
            self.idle.pop(node, None)

    def _release(self, node: Node) -> None:
        """Free what nobody needs any more, from a node upwards."""
        while True:
            need = len(node.tokens) if node.children else 0
            if node.cursors and not node.children:
                need = max([cursor.offset for cursor in node.cursors])
            hold = max(need, min(node.kept, node.computed))
            self._drop(node, hold)
            self._trim(node, hold)
            parent = node.parent
            if parent is None or node.cursors or node.children:
                return
            if node.computed:
                self.idle[node] = None
                return
            self.idle.pop(node, None)
            self._unlink(node, parent)
            node = parent

    def _unlink(self, node: Node, parent: Node) -> None:
        self.version += 1
        for token, child in list(parent.children.items()):
            if child is node:
                del parent.children[token]
        self.slots.free(node.start, node.cap)
        node.cap = 0

    def _drop(self, node: Node, upto: int) -> int:
        """Cache beyond the first `upto` tokens goes; returns the slots freed."""
        if node.computed > upto:
            self.version += 1
            self.filled -= node.computed - upto
            node.computed = upto
        freed = max(0, node.cap - upto)
        growing = node.cursors and not node.children and upto == len(node.tokens)
        if freed and not growing:
            self.slots.free(node.start + upto, freed)
            node.cap = upto
            return freed
        return 0

    def _trim(self, node: Node, upto: int) -> None:
        if upto < len(node.tokens):
            self.version += 1
            if upto == 0 and node.parent is not None:
                self._unlink(node, node.parent)
            del node.tokens[upto:], node.rows[upto:]
            node.kept = min(node.kept, upto)

    def nodes(self) -> Iterator[Node]:
        """All nodes, parents first."""
        stack = [self.root]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(node.children.values())

    def check(self) -> None:
        """Raise AssertionError with what is wrong, if anything is."""
        taken: list[tuple[int, int]] = []
        filled = 0
        for node in self.nodes():
            self._check_node(node)
            filled += node.computed
            if node.cap:
                taken.append((node.start, node.cap))
        assert filled == self.filled, f"filled {self.filled}, counted {filled}"
        at = 0
        for start, size in sorted(taken + self.slots.ranges()):
            assert start == at, f"slots {at}..{start} lost or taken twice"
            at = start + size
        assert at == self.slots.capacity, f"slots {at}..{self.slots.capacity} lost"

    def _check_node(self, node: Node) -> None:
        parent = node.parent
        assert node.computed <= len(node.tokens) and node.computed <= node.cap, f"cache beyond tokens: {node}"
        assert node.kept <= len(node.tokens) == len(node.rows), f"kept beyond tokens: {node}"
        assert all(c.node is node and 0 <= c.offset <= len(node.tokens) for c in node.cursors), (
            f"stray cursor: {node}"
        )
        if parent is None:
            return
        assert node.tokens, f"empty node below {parent}"
        assert node.first == parent.first + len(parent.tokens), f"wrong position: {node}"
        [key] = [key for key, child in parent.children.items() if child is node] or [-1]
        first = key[1] if isinstance(key, tuple) else key
        assert first == node.tokens[0], f"not its parent's child: {node}"
        assert not node.computed or parent.computed == len(parent.tokens), f"cache over a gap: {node}"
        assert node.cursors or node.children or node in self.idle, f"leaked: {node}"
        assert all(c.offset > 0 for c in node.cursors), (
            f"a cursor at the start of {node} belongs to its parent"
        )
