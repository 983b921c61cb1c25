"""Contiguous ranges of cache slots: first fit over a sorted free list, neighbours joined when freed."""

from __future__ import annotations

from bisect import bisect_left


class Slots:
    """An allocator of ranges over `[0, capacity)`. Integers only; the tensors live elsewhere."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._starts: list[int] = [0] if capacity else []
        self._sizes: list[int] = [capacity] if capacity else []
        self.free_slots = capacity

    @property
    def used(self) -> int:
        return self.capacity - self.free_slots

    def alloc(self, n: int) -> int:
        """The start of a range of n slots, or -1 if no free range is that long."""
        for i, size in enumerate(self._sizes):
            if size >= n:
                start = self._starts[i]
                if size == n:
                    del self._starts[i], self._sizes[i]
                else:
                    self._starts[i], self._sizes[i] = start + n, size - n
                self.free_slots -= n
                return start
        return -1

    def extend(self, end: int, n: int) -> bool:
        """Take the n slots from `end` on, if they are free: a range grows in place."""
        i = bisect_left(self._starts, end)
        if i == len(self._starts) or self._starts[i] != end or self._sizes[i] < n:
            return False
        if self._sizes[i] == n:
            del self._starts[i], self._sizes[i]
        else:
            self._starts[i], self._sizes[i] = end + n, self._sizes[i] - n
        self.free_slots -= n
        return True

    def free(self, start: int, n: int) -> None:
        """Give a range, or a part of one, back."""
        if n <= 0:
            return
        i = bisect_left(self._starts, start)
        self.free_slots += n
        joins_next = i < len(self._starts) and start + n == self._starts[i]
        joins_last = i > 0 and self._starts[i - 1] + self._sizes[i - 1] == start
        if joins_last and joins_next:
            self._sizes[i - 1] += n + self._sizes[i]
            del self._starts[i], self._sizes[i]
        elif joins_last:
            self._sizes[i - 1] += n
        elif joins_next:
            self._starts[i], self._sizes[i] = start, self._sizes[i] + n
        else:
            self._starts.insert(i, start)
            self._sizes.insert(i, n)

    def reset(self, used: int) -> None:
        """After compaction: the first `used` slots are taken, the rest is one free range."""
        rest = self.capacity - used
        self._starts, self._sizes = ([used], [rest]) if rest else ([], [])
        self.free_slots = rest

    def ranges(self) -> list[tuple[int, int]]:
        """The free ranges as (start, size), ascending."""
        return list(zip(self._starts, self._sizes, strict=True))
