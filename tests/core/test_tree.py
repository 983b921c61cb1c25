"""The token tree: random work on it never breaks an invariant, loses a path or leaks a slot."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from outthink.core.slots import Slots
from outthink.core.tree import Cursor, NoRoom, Tree


class TreeMachine(RuleBasedStateMachine):
    """Cursors do all they can in any order; beside them a plain list of tokens says where each must be."""

    def __init__(self) -> None:
        super().__init__()
        self.tree = Tree(80)
        self.paths: dict[Cursor, list[int]] = {}

    def pick(self, n: int) -> Cursor:
        return list(self.paths)[n % len(self.paths)]

    @rule(tokens=st.lists(st.integers(0, 2), min_size=1, max_size=8), keep=st.booleans())
    def open(self, tokens: list[int], keep: bool) -> None:
        self.paths[self.tree.open(tokens, keep)] = tokens

    @precondition(lambda self: self.paths)
    @rule(n=st.integers(0, 99), tokens=st.lists(st.integers(0, 2), min_size=1, max_size=4))
    def append(self, n: int, tokens: list[int]) -> None:
        cursor = self.pick(n)
        self.tree.extend(cursor, tokens)
        self.paths[cursor] = [*self.paths[cursor], *tokens]

    @precondition(lambda self: self.paths)
    @rule(n=st.integers(0, 99))
    def fork(self, n: int) -> None:
        cursor = self.pick(n)
        self.paths[self.tree.fork(cursor)] = list(self.paths[cursor])

    @precondition(lambda self: self.paths)
    @rule(n=st.integers(0, 99), keep=st.booleans())
    def close(self, n: int, keep: bool) -> None:
        cursor = self.pick(n)
        del self.paths[cursor]
        self.tree.close(cursor, keep)

    @precondition(lambda self: self.paths)
    @rule(n=st.integers(0, 99), share=st.floats(0, 1))
    def rewind(self, n: int, share: float) -> None:
        cursor = self.pick(n)
        length = int(share * cursor.length)
        self.tree.rewind(cursor, length)
        self.paths[cursor] = self.paths[cursor][:length]

    @precondition(lambda self: self.paths)
    @rule(n=st.integers(0, 99), hint=st.sampled_from([0, 0, 16]))
    def compute(self, n: int, hint: int) -> None:
        try:
            for node, _, high in self.tree.missing(self.pick(n)):
                self.tree.reserve(node, high, hint)
                self.tree.mark(node, high)
        except NoRoom:
            self.tree.park(self.tree.root)

    @rule()
    def compact(self) -> None:
        self.tree.compact()

    @invariant()
    def sound(self) -> None:
        self.tree.check()
        assert all(self.tree.tokens(cursor) == path for cursor, path in self.paths.items())

    def teardown(self) -> None:
        for cursor in list(self.paths):
            self.tree.close(cursor)
        self.tree.check()
        while self.tree.slots.alloc(self.tree.slots.capacity) < 0 and self.tree.idle:
            self.tree._evict(next(iter(self.tree.idle)))
        self.tree.park(self.tree.root)
        assert self.tree.filled == 0


TestTree = TreeMachine.TestCase
TestTree.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_samples_that_begin_alike_are_one_node_until_they_part() -> None:
    tree = Tree(64)
    root = tree.open([1, 2, 3])
    one, two, three = (tree.fork(root) for _ in range(3))
    for cursor, tokens in ((one, [4, 5, 6]), (two, [4, 5, 7]), (three, [8])):
        for token in tokens:
            tree.append(cursor, token)
    assert sum(len(n.tokens) for n in tree.nodes()) == 3 + 2 + 1 + 1 + 1
    assert one.node.parent is two.node.parent and one.node is not two.node


def compute(tree: Tree, cursor: Cursor) -> None:
    """Give cache to all that a path lacks."""
    for node, _, high in tree.missing(cursor):
        tree.reserve(node, high)
        tree.mark(node, high)


def test_what_is_closed_to_be_kept_is_found_again_until_room_is_needed() -> None:
    tree = Tree(8)
    root = tree.open([1, 2])
    kept, gone = tree.fork(root), tree.fork(root)
    for cursor, tokens in ((kept, [3, 4]), (gone, [5])):
        tree.extend(cursor, tokens)
        compute(tree, cursor)
    tree.close(kept, keep=True)
    tree.close(gone)
    assert tree.filled == 4
    again = tree.open([1, 2, 3, 4])
    assert [(s.low, s.high) for s in tree.missing(again)] == [(1, 2)]  # its row alone
    tree.close(again)
    tree.reserve(tree.open([6] * 6).node, 6)
    assert tree.filled == 2


def test_of_a_path_that_is_kept_the_end_goes_first() -> None:
    tree = Tree(8)
    root = tree.open([1, 2], keep=False)
    kept, gone = tree.fork(root), tree.fork(root)
    for cursor, tokens in ((kept, [3, 4]), (gone, [5])):
        tree.extend(cursor, tokens)
        compute(tree, cursor)
    tree.close(kept, keep=True)
    tree.close(gone)
    tree.close(root)
    assert tree.filled == 4
    tree.reserve(tree.open([6] * 5).node, 5)
    assert tree.filled == 2, "what comes before it stays while there is room"
    tree.check()


def test_what_has_another_salt_is_another_path() -> None:
    tree = Tree(64)
    opened = [tree.open([1, 2, 3], salt=salt) for salt in ("", "a", "b", "a")]
    assert len({cursor.node for cursor in opened}) == 3 and opened[1].node is opened[3].node
    assert [tree.tokens(cursor) for cursor in opened] == [[1, 2, 3]] * 4
    tree.check()
    for cursor in opened[:3]:
        compute(tree, cursor)
    assert tree.filled == 9
    inner = tree.open([1, 9], salt="a")  # parts the node in two
    tree.check()
    assert tree.tokens(inner) == [1, 9] and inner.node.parent is opened[1].node.parent
    for cursor in (*opened, inner):
        tree.close(cursor)
        tree.check()
    assert tree.filled == 9, "prompts stay until room is needed"
    again = tree.open([1, 2, 3, 4], salt="b")
    assert [(low, high) for _, low, high in tree.missing(again)] == [(3, 4)], "the new token alone"


def test_missing_is_the_tip_and_what_has_no_cache() -> None:
    tree = Tree(64)
    cursor = tree.open([1, 2, 3, 4])
    assert [(s.low, s.high) for s in tree.missing(cursor)] == [(0, 4)]
    tree.reserve(cursor.node, 4)
    tree.mark(cursor.node, 4)
    assert [(s.low, s.high) for s in tree.missing(cursor)] == [(3, 4)]
    assert [(s.low, s.high) for s in tree.missing(cursor, 2)] == [(1, 2)]


def test_cancelled_cache_is_free_at_once_and_prompts_stay_until_room_is_needed() -> None:
    tree = Tree(16)
    root = tree.open([1] * 6)
    for cursor in [root, *(tree.fork(root) for _ in range(2))]:
        compute(tree, cursor)
    tail = tree.fork(root)
    tree.extend(tail, [2, 3, 4])
    for node, _, high in tree.missing(tail):
        tree.reserve(node, high)
        tree.mark(node, high)
    assert tree.filled == 9
    tree.close(tail)
    assert tree.filled == 6
    for cursor in list(root.node.cursors):
        tree.close(cursor)
    assert tree.filled == 6 and len(tree.idle) == 1
    other = tree.open([5] * 14)
    tree.reserve(other.node, 14)
    assert tree.filled == 0 and not tree.idle


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 12)), max_size=40))
@settings(max_examples=60, deadline=None)
def test_slots_never_overlap(steps: list[tuple[bool, int]]) -> None:
    slots, held = Slots(50), {}
    for take, n in steps:
        if take:
            start = slots.alloc(n)
            if start >= 0:
                held[start] = n
        elif held:
            start = list(held)[n % len(held)]
            slots.free(start, held.pop(start))
        cells = [c for start, size in [*held.items(), *slots.ranges()] for c in range(start, start + size)]
        assert sorted(cells) == list(range(50))
        assert slots.used == sum(held.values())
