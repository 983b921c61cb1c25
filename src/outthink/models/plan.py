"""Which rows attend to which cache extents in which product; integers only.

A row sees a chain of extents. Rows that share extents should read them once, rows that share nothing should
ride in one batched product, and small bushy subtrees are cheapest as one masked product over all their slots.
No single rule wins, so the planner goes through the forest bottom-up and takes at each node the cheapest of
three ways, by costs that were measured (`Costs`):

    split   the node's extents as one product over all rows below, then every child on its own
    pool    the node's extents as one product, then everything below as one masked product
    mask    everything, the node's own extents too, as one masked product

A subtree with a single row is a *thread*; all threads of the pass ride together in a fan. Every row is
covered by at least one item, and the items of a row partition what it sees, so that merging by log-sum-exp is
exact.
"""

from __future__ import annotations

from typing import NamedTuple

from outthink.core.batch import Batch
from outthink.models.forest import Node, forest_of, parents_first, thread_of
from outthink.models.items import Box, Causal, Extent, Fan, Item, Masked, Product


class Costs(NamedTuple):
    """Microseconds for one layer; defaults for a query width (heads x head_dim) of 256 on a CPU core."""

    item: float = 30.0  # any product: call, merge
    pair: float = 0.018  # one row times one slot in a shared or masked product
    lone: float = 0.09  # one row times one slot in a fan
    copy: float = 0.026  # gathering one slot
    node: float = 2.0  # opening one box of a mask, spread over the layers

    def scaled(self, width: int) -> Costs:
        """The same for another query width."""
        part = width / 256
        return Costs(self.item, self.pair * part, self.lone * part, self.copy * part, self.node)


DEFAULT_COSTS = Costs()


def plan(batch: Batch, costs: Costs = DEFAULT_COSTS) -> list[Item]:
    """Items that together cover what every row sees, products near the roots first.

    Raises ValueError when the rows below a segment are not one range (the batch is not in depth-first order).
    """
    if len(batch) == 1:
        return _chain_items(thread_of(batch, 0), 0, 1, costs)
    roots = forest_of(batch)
    nodes = parents_first(roots)
    threads = sum(node.last - node.first == 1 for node in nodes)
    for node in reversed(nodes):
        _choose(node, costs, threads)
    top = Node(0, len(batch), [], kids=roots)
    _choose(top, costs, threads)
    items, lone = _emit(top, costs)
    return items + _fans(lone, costs)


def _choose(node: Node, costs: Costs, threads: int) -> None:
    """Set the cheapest way of this node and its cost."""
    if node.last - node.first == 1:
        node.cost = costs.item / threads + node.slots * (costs.lone + costs.copy)
        return
    shared = sum(extent.length for extent in node.extents)
    product = (costs.item + node.rows * shared * costs.pair) if shared else 0.0
    inner = node.slots - shared
    ways = {"split": product + _split_cost(node, costs)}
    if inner:
        ways["pool"] = product + _masked_cost(node, inner, costs)
        ways["mask"] = _masked_cost(node, node.slots, costs)
    node.way = min(ways, key=ways.__getitem__)
    node.cost = ways[node.way]


def _split_cost(node: Node, costs: Costs) -> float:
    total = sum(kid.cost for kid in node.kids)
    if node.square:
        total += costs.item + len(node.visible) * node.square.length * costs.pair
        if node.kids:
            total += costs.item + (node.rows - len(node.visible)) * node.square.length * costs.pair
    return total


def _masked_cost(node: Node, slots: int, costs: Costs) -> float:
    return costs.item + slots * (node.rows * costs.pair + costs.copy) + node.nodes * costs.node


def _emit(top: Node, costs: Costs) -> tuple[list[Item], list[tuple[int, list[Extent]]]]:
    """The items of the chosen ways, outer before inner; and the threads (row, chain) still to be fanned."""
    items: list[Item] = []
    lone: list[tuple[int, list[Extent]]] = []
    todo = [top]
    for node in todo:
        if node.last - node.first == 1:
            lone.append((node.first, node.extents))
            continue
        if node.way != "mask":
            items += _chain_items(node.extents, node.first, node.last, costs)
        if node.way == "split":
            items += _square_items(node)
            todo.extend(node.kids)
        else:
            items.append(_masked(node, node.way == "mask"))
    return items, lone


def _chain_items(extents: list[Extent], first: int, last: int, costs: Costs) -> list[Item]:
    """Products of rows with a chain: long extents are read in place, short ones are gathered into one."""
    limit = costs.item / costs.copy
    if len(extents) < 2:
        return [Product(first, last, extents)] if extents else []
    long = [extent for extent in extents if extent.length > limit]
    short = [extent for extent in extents if extent.length <= limit]
    items: list[Item] = [Product(first, last, [extent]) for extent in long]
    return items + ([Product(first, last, short)] if short else [])


def _square_items(node: Node) -> list[Item]:
    """Own rows of a node against its square, and the rows below against all of it."""
    if not node.square:
        return []
    own = len(node.visible)
    items: list[Item] = []
    if node.visible == list(range(1, own + 1)) and (not node.kids or node.square.length == own):
        items.append(Causal(node.first, node.first + own, node.square.start))
    else:
        boxes = [Box(node.first + i, node.first + i + 1, 0, seen) for i, seen in enumerate(node.visible)]
        widest = Extent(node.square.start, max(node.visible))
        items.append(Masked(node.first, node.first + own, [widest], boxes))
    if node.kids:
        items.append(Product(node.first + own, node.last, [node.square]))
    return items


def _masked(top: Node, whole: bool) -> Masked:
    """One masked product over a subtree, with or without the extents of its top node."""
    extents: list[Extent] = []
    boxes: list[Box] = []
    column = 0
    todo = [top]
    for node in todo:
        full = node.extents if whole or node is not top else []
        width = sum(extent.length for extent in full)
        if width:
            boxes.append(Box(node.first, node.last, column, column + width))
            extents += full
            column += width
        if node.square:
            own = len(node.visible)
            boxes += [
                Box(node.first + i, node.first + i + 1, column, column + n)
                for i, n in enumerate(node.visible)
            ]
            if node.kids:
                boxes.append(Box(node.first + own, node.last, column, column + node.square.length))
            extents.append(node.square)
            column += node.square.length
        todo.extend(node.kids)
    return Masked(top.first, top.last, extents, boxes)


def _fans(lone: list[tuple[int, list[Extent]]], costs: Costs) -> list[Item]:
    """Batched products for the threads: a fan pads to its longest chain, so very unequal lengths part."""
    if not lone:
        return []
    sized = sorted((_Thread(_length(chain), row, chain) for row, chain in lone), reverse=True)
    groups = [[sized[0]]]
    for thread in sized[1:]:
        longest = groups[-1][0].slots
        if thread.slots * 2 < longest and (longest - thread.slots) * len(sized) * costs.lone > costs.item:
            groups.append([])
        groups[-1].append(thread)
    return [item for group in groups for item in _fan(group, costs)]


class _Thread(NamedTuple):
    slots: int
    row: int
    chain: list[Extent]


def _length(chain: list[Extent]) -> int:
    return chain[0].length if len(chain) == 1 else sum(extent.length for extent in chain)


def _fan(group: list[_Thread], costs: Costs) -> list[Item]:
    if len(group) == 1:
        return _chain_items(group[0].chain, group[0].row, group[0].row + 1, costs)
    group.sort(key=lambda thread: thread.row)
    return [Fan([thread.row for thread in group], [thread.chain for thread in group])]
