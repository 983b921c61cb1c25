"""A lattice's graph against the plain definitions: who reaches whom, and the best way to an end."""

from __future__ import annotations

import math
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from outthink.strategy._steps import Node
from outthink.strategy.lattice import Entry, Graph


def grown(pairs: list[tuple[int, int]], size: int) -> tuple[Graph, list[Node], set[tuple[int, int]]]:
    """A graph of these edges, as far as they close no circle; every third node has ended."""
    nodes = [Node(cast(Any, None), ended="eos" if i % 3 == 2 else "", score=0.0) for i in range(size)]
    graph, edges = Graph(), set[tuple[int, int]]()
    for a, b in ((a % size, b % size) for a, b in pairs):
        if not nodes[a].ended and (a, b) not in edges:
            circle = walk(edges, b, a)
            assert graph.reaches(nodes[b], nodes[a]) == circle
            if not circle:
                edges.add((a, b))
                graph.add(Entry(1.0 + (a * 7 + b * 3) % 5, (), 0, b, nodes[a]), nodes[b])
    return graph, nodes, edges


def walk(edges: set[tuple[int, int]], start: int, goal: int) -> bool:
    return start == goal or any(walk(edges, b, goal) for a, b in edges if a == start)


def cheapest(edges: set[tuple[int, int]], nodes: list[Node], at: int) -> float:
    """By recursion over all ways."""
    if nodes[at].ended:
        return 0.0
    return min(
        (1.0 + (a * 7 + b * 3) % 5 + cheapest(edges, nodes, b) for a, b in edges if a == at), default=math.inf
    )


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=24), st.integers(3, 9))
@settings(max_examples=150, deadline=None)
def test_the_graph_is_as_defined(pairs: list[tuple[int, int]], size: int) -> None:
    graph, nodes, edges = grown(pairs, size)
    for i, one in enumerate(nodes):
        assert all(graph.reaches(one, other) == walk(edges, i, j) for j, other in enumerate(nodes))
    touched = {i for edge in edges for i in edge}
    costs = {i: cost for i in touched if (cost := cheapest(edges, nodes, i)) < math.inf}
    assert graph.costs() == {nodes[i]: cost for i, cost in costs.items()}
