"""The store moves rows and grows, and keeps what it holds."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from outthink.core.batch import Move
from outthink.kv.store import Store

LAYOUTS = pytest.mark.parametrize("by_head", [False, True])


def filled(slots: int, by_head: bool = False) -> Store:
    store = Store(2, slots, 3, 2, torch.float32, "cpu", by_head)
    store.data.copy_(torch.arange(store.data.numel()).view(store.data.shape))
    return store


@pytest.mark.parametrize(("by_head", "strides"), [(False, (12, 6, 2)), (True, (4, 2, 40))])
def test_slots_of_a_head_lie_together_if_asked(by_head: bool, strides: tuple[int, ...]) -> None:
    store = filled(10, by_head)
    assert store.data.shape == (2, 10, 2, 3, 2) and store.data.stride()[1:4] == strides


@LAYOUTS
def test_moves_copy_all_layers_at_once(by_head: bool) -> None:
    store = filled(10, by_head)
    before = store.data.clone()
    store.move([Move(0, 7, 2), Move(3, 5, 1), Move(4, 6, 0)])
    expected = before.clone()
    expected[:, 7:9], expected[:, 5] = before[:, 0:2], before[:, 3]
    assert torch.equal(store.data, expected)


@LAYOUTS
def test_growth_keeps_contents_in_small_steps(by_head: bool) -> None:
    store = filled(64, by_head)
    before, size = store.data.clone(), store.bytes
    store.grow(60)
    assert store.slots == 64
    store.grow(65)
    assert store.slots == 66 and store.bytes == size * 66 // 64
    assert torch.equal(store.data[:, :64], before) and not store.data[:, 64:].any()
    store.grow(400)
    assert store.slots == 400
    assert torch.equal(store.data[:, :64], before) and not store.data[:, 64:].any()
    assert all(torch.equal(layer, store.data[i]) for i, layer in enumerate(store.layers))


def test_growing_slot_by_slot_copies_a_few_times_only() -> None:
    store, reserves = filled(64), set()
    for slots in range(65, 5000):
        store.grow(slots)
        reserves.add(store.reserve.shape[1])
        assert slots <= store.slots <= slots + slots // 32 + 1
    assert len(reserves) <= 7


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_what_is_reserved_takes_no_memory() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    store = Store(4, 1, 4, 64, torch.float32, "cpu")  # 8 KiB a slot
    before = resident()
    store.grow(100_000)
    store.data[:, :1000] = 1.0
    assert 7 << 20 < resident() - before < 40 << 20


def test_moves_that_overlap_are_read_before_they_are_written() -> None:
    store = Store(layers=2, slots=6, kv_heads=1, head_dim=2, dtype=torch.float32, device="cpu")
    store.data.copy_(torch.arange(store.data.numel()).view(store.data.shape))
    before = store.data.clone()
    store.move([Move(0, 1, 3), Move(4, 0, 1)])
    assert torch.equal(store.data[:, :4], before[:, [4, 0, 1, 2]])
