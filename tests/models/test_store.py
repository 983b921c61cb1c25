"""The store moves rows and grows, and keeps what it holds."""

from __future__ import annotations

import torch

from outthink.core.batch import Move
from outthink.kv.store import Store


def filled(slots: int) -> Store:
    store = Store(2, slots, 1, 2, torch.float32, "cpu")
    store.data.copy_(torch.arange(store.data.numel()).view(store.data.shape))
    return store


def test_moves_copy_all_layers_at_once() -> None:
    store = filled(10)
    before = store.data.clone()
    store.move([Move(0, 7, 2), Move(3, 5, 1), Move(4, 6, 0)])
    expected = before.clone()
    expected[:, 7:9], expected[:, 5] = before[:, 0:2], before[:, 3]
    assert torch.equal(store.data, expected)


def test_growth_keeps_contents_and_doubles() -> None:
    store = filled(6)
    before, size = store.data.clone(), store.bytes
    store.grow(5)
    assert store.slots == 6
    store.grow(7)
    assert store.slots == 12 and store.bytes == 2 * size
    assert torch.equal(store.data[:, :6], before) and not store.data[:, 6:].any()
    store.grow(100)
    assert store.slots == 100
