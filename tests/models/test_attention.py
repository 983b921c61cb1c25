"""Every plan covers exactly what each row sees, and its merged products equal one softmax per row."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
import torch
from forests import Forest
from hypothesis import given, settings
from hypothesis import strategies as st

from outthink.core.batch import Batch, Segment
from outthink.kv.store import Store
from outthink.models import products
from outthink.models.attention import Attention
from outthink.models.items import Causal, Extent, Fan, Item, Masked, Product
from outthink.models.plan import Costs, plan
from outthink.models.products import attend, attend_plain

COSTS = [
    Costs(),
    Costs(item=0.0),  # split everything
    Costs(item=1e6),  # mask everything
    Costs(lone=1e3),  # never a fan
    Costs(item=5.0, lone=0.0, copy=1e-3),  # fans, pools
    Costs(item=30.0, pair=1e-4, node=0.0),
]


def seen(batch: Batch, row: int) -> list[int]:
    """Slots that a row sees, by walking up from its segment."""
    at = batch.segment[row]
    start = batch.segments[at].start
    slots = list(range(start, start + batch.visible[row]))
    while (at := batch.segments[at].parent) >= 0:
        _, start, length = batch.segments[at]
        slots = list(range(start, start + length)) + slots
    return slots


def covered(item: Item) -> list[tuple[int, int]]:
    """(row, slot) pairs of an item."""
    match item:
        case Product():
            slots = [slot for start, length in item.extents for slot in range(start, start + length)]
            return [(row, slot) for row in range(item.first, item.last) for slot in slots]
        case Causal():
            rows = range(item.first, item.last)
            return [(row, item.start + i) for row in rows for i in range(row - item.first + 1)]
        case Masked():
            slots = [slot for start, length in item.extents for slot in range(start, start + length)]
            return [(r, slots[c]) for box in item.boxes for r in range(*box[:2]) for c in range(*box[2:])]
        case Fan():
            chains = zip(item.rows, item.chains, strict=True)
            return [(row, slot) for row, chain in chains for s, n in chain for slot in range(s, s + n)]


def random_batch(seed: int, branches: int, longest: int) -> tuple[Batch, int]:
    """One pass somewhere in the middle of the work on a random forest."""
    random = Random(seed)
    forest = Forest.random(random, vocab=5, branches=branches, longest=longest)
    return random.choice(forest.passes(random))[0], forest.slots


forests = {
    "seed": st.integers(0, 10**6), "branches": st.integers(1, 14), "longest": st.sampled_from([1, 4, 20]),
    "costs": st.sampled_from(COSTS),
}  # fmt: skip


@settings(max_examples=150, deadline=None, derandomize=True)
@given(**forests)
def test_items_partition_what_rows_see(seed: int, branches: int, longest: int, costs: Costs) -> None:
    batch, _ = random_batch(seed, branches, longest)
    pairs = Counter(pair for item in plan(batch, costs) for pair in covered(item))
    assert pairs == Counter((row, slot) for row in range(len(batch)) for slot in seen(batch, row))


def expected(batch: Batch, query: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
    """Row by row, in float64: [rows, group * kv_heads * d], heads in (group, kv_head) order."""
    out = []
    for row in range(len(batch)):
        key, value = cells[seen(batch, row)].double().permute(1, 2, 0, 3)
        scores = query[row].transpose(0, 1).double() @ key.transpose(1, 2) * query.shape[-1] ** -0.5
        out.append((scores.softmax(-1) @ value).transpose(0, 1).flatten())
    return torch.stack(out)


@pytest.mark.parametrize(
    "dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.05)]
)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(group=st.sampled_from([1, 3]), **forests)
def test_attention_equals_one_softmax_per_row(
    dtype: torch.dtype, tolerance: float, seed: int, branches: int, longest: int, costs: Costs, group: int
) -> None:
    check_attention(dtype, tolerance, seed, branches, longest, costs, group)


def check_attention(
    dtype: torch.dtype, tolerance: float, seed: int, branches: int, longest: int, costs: Costs, group: int
) -> None:
    """A random pass over random cells gives what one softmax per row gives."""
    batch, slots = random_batch(seed, branches, longest)
    torch.manual_seed(seed)
    store = Store(2, slots, 2, 8, dtype, "cpu")
    store.data.copy_(2 * torch.randn(store.data.shape))
    query = torch.randn(len(batch), group, 2, 8).to(dtype)
    bound = Attention(plan(batch, costs), store, query)
    for layer in range(2):
        out = bound.run(layer)
        torch.testing.assert_close(
            out.double(), expected(batch, query, store.data[layer]), atol=tolerance, rtol=0
        )


def even_fan(starts: list[int], lengths: list[int], slots: int) -> tuple[Batch, int]:
    """Independent single rows at the ends of segments."""
    batch = Batch()
    for index, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        batch.segments.append(Segment(-1, start, length))
        batch.segment.append(index)
        batch.visible.append(length)
        batch.tokens.append(0)
        batch.slots.append(start + length - 1)
    return batch, slots


@pytest.mark.parametrize(
    "batch, slots",
    [
        even_fan([0, 10, 20], [3, 5, 4], 30),  # equally spaced: a strided view
        even_fan([0, 10, 20], [9, 5, 5], 25),  # the view would run over the end
        even_fan([20, 10, 0], [3, 5, 4], 30),  # backwards
        even_fan([0, 10, 25], [3, 5, 4], 30),  # uneven
        even_fan([0, 40, 80, 120], [40, 2, 3, 1], 130),  # one long, three short
    ],
)
def test_fans(batch: Batch, slots: int) -> None:
    store = Store(1, slots, 2, 8, torch.float64, "cpu")
    store.data.normal_()
    query = torch.randn(len(batch), 2, 2, 8, dtype=torch.float64)
    items = plan(batch, Costs(item=0.1))
    assert any(isinstance(item, Fan) for item in items)
    out = Attention(items, store, query).run(0)
    torch.testing.assert_close(out, expected(batch, query, store.data[0]), atol=1e-12, rtol=0)


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_fans_from_memory_go_a_few_rows_at_a_time(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "SHARED_CACHE", 0)
    monkeypatch.setattr(products, "CORE_CACHE", rows * 6 * 2 * 2 * 8 * 8)
    batch, slots = even_fan([0, 10, 20, 40, 50], [3, 5, 4, 6, 1], 60)
    store = Store(1, slots, 2, 8, torch.float64, "cpu")
    store.data.normal_()
    query = torch.randn(5, 2, 2, 8, dtype=torch.float64)
    fan = Fan([0, 1, 2, 3, 4], [[Extent(s.start, s.length)] for s in batch.segments])
    bound = Attention([fan], store, query)
    torch.testing.assert_close(bound.run(0), expected(batch, query, store.data[0]), atol=1e-12, rtol=0)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(**forests)
def test_plain_products_give_the_same_attention(seed: int, branches: int, longest: int, costs: Costs) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "attend", attend_plain)
        check_attention(torch.float64, 1e-12, seed, branches, longest, costs, group=2)


@pytest.mark.parametrize("causal", [False, True])
def test_plain_products_equal_the_kernel(causal: bool) -> None:
    query, key, value = torch.randn(3, 2, 4, 7, 8)
    mask = None if causal else torch.randn(7, 7)
    for ours, kernel in zip(
        attend_plain(query, key, value, mask, causal, 0.3),
        attend(query, key, value, mask, causal, 0.3),
        strict=True,
    ):
        torch.testing.assert_close(ours, kernel)


def test_extents_beyond_the_store_are_refused() -> None:
    store = Store(1, 4, 1, 8, torch.float32, "cpu")
    with pytest.raises(ValueError, match="beyond the 4 slots"):
        Attention([Product(0, 1, [Extent(2, 3)])], store, torch.zeros(1, 1, 1, 8))


def test_rows_out_of_depth_first_order_are_refused() -> None:
    segments = [Segment(-1, 0, 4), Segment(0, 4, 2), Segment(0, 6, 2), Segment(1, 8, 1)]
    with pytest.raises(ValueError, match="depth-first"):
        plan(Batch(tokens=[0] * 3, segment=[1, 2, 3], visible=[2, 2, 1], segments=segments))
    with pytest.raises(ValueError, match="neighbours"):
        plan(Batch(tokens=[0] * 3, segment=[1, 2, 1], visible=[1, 2, 2], segments=segments))
    with pytest.raises(ValueError, match="sees 3 of the 2"):
        plan(Batch(tokens=[0] * 2, segment=[1, 2], visible=[3, 2], segments=segments))
