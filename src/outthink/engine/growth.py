"""A draft inside the token tree, for the length of one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outthink.core.draft import Draft
from outthink.core.tree import Cursor, Tree

if TYPE_CHECKING:
    from outthink.engine.stretch import Stretch


class Growth:
    """The nodes of a draft below a tip: a cursor on a path through each, its depth, the warps' states there.

    Cursors hold the nodes in the tree until `close`; equal tokens from equal places are one node there, as
    everywhere, so branches that draft alike share rows. Index -1 is the tip.
    """

    __slots__ = ("draft", "tree", "cursors", "depths", "states", "is_whole", "_all")

    def __init__(self, stretch: Stretch, draft: Draft, is_whole: bool) -> None:
        tree: Tree = stretch.branch.place.tree
        tip = stretch.branch.cursor
        self.draft, self.tree, self.is_whole = draft, tree, is_whole
        self.cursors: list[Cursor] = []
        self.depths: dict[int, int] = {-1: 0}
        self.states: dict[int, tuple[Any, ...]] = {-1: stretch.states}
        self._all: list[Cursor] = []
        if draft.is_chain:
            self._chain(stretch, tip)
            return
        length = tip.length
        for node, (token, parent) in enumerate(zip(draft.tokens, draft.parents, strict=True)):
            depth = self.depths[parent] + 1
            cursor = self._at(tip if parent < 0 else self.cursors[parent], parent < 0, length + depth - 1)
            tree.append(cursor, token)
            self.cursors.append(cursor)
            self.depths[node] = depth
            above = self.states[parent]
            self.states[node] = stretch.following(above, token) if above else above

    def _chain(self, stretch: Stretch, tip: Cursor) -> None:
        """Most drafts: one cursor goes down all nodes."""
        cursor, states, append = self.tree.fork(tip), stretch.states, self.tree.append
        tokens = self.draft.tokens
        self._all.append(cursor)
        for token in tokens:
            append(cursor, token)
        self.cursors = [cursor] * len(tokens)
        self.depths.update(zip(range(len(tokens)), range(1, len(tokens) + 1), strict=True))
        for node, token in enumerate(tokens):
            states = stretch.following(states, token) if states else states
            self.states[node] = states

    def _at(self, cursor: Cursor, is_tip: bool, length: int) -> Cursor:
        """A cursor of our own after `length` tokens of a path: the one that is there, else a new one."""
        if not is_tip and cursor.length == length:
            return cursor
        new = self.tree.fork(cursor)
        if new.length > length:
            self.tree.rewind(new, length)
        self._all.append(new)
        return new

    def close(self) -> None:
        """Let go of all nodes; what no branch has taken over is freed at once."""
        for cursor in reversed(self._all):
            self.tree.close(cursor)
        self._all.clear()
