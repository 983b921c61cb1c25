"""Several drafts as one tree."""

from __future__ import annotations

from outthink.core.draft import Draft


class Overlay:
    """Drafts in one tree: equal tokens from equal places are one node, as sure as its first giver."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self.conf: list[float] = []
        self.dists: list[object] = []
        self.where: dict[tuple[int, int], int] = {}

    def add(self, draft: Draft) -> bool:
        """Lay one more over those that are here, as far as there is room; whether it gave anything new."""
        place, before = {-1: -1}, len(self.tokens)
        for node, (token, parent) in enumerate(zip(draft.tokens, draft.parents, strict=True)):
            if parent not in place:
                continue
            key = (place[parent], token)
            is_new = key not in self.where or bool(draft.dists)  # what was drawn is kept as it was drawn
            if is_new:
                if len(self.tokens) >= self.room:
                    continue
                self.where[key] = len(self.tokens)
                self.tokens.append(token)
                self.parents.append(key[0])
                self.conf.append(0.0)
                self.dists.append(draft.dists[node] if draft.dists else None)
            place[node] = self.where[key]
            self._weigh(place[node], draft.conf[node] if draft.conf else 0.5, is_new)
        return len(self.tokens) > before

    def _weigh(self, node: int, conf: float, is_new: bool) -> None:
        """One more giver holds a node so likely."""
        if is_new:
            self.conf[node] = conf

    def draft(self, by: str) -> Draft:
        """All of them as one."""
        dists = tuple(self.dists) if any(d is not None for d in self.dists) else ()
        return Draft(tuple(self.tokens), tuple(self.parents), tuple(self.conf), dists, by)
