"""The pass in C: the bits of a row depend on its own tokens alone, and bad batches are refused."""

from __future__ import annotations

import copy
import multiprocessing
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from conftest import LEVELS
from forests import Branch, Forest, evaluate

from outthink.backends.load import embedded, load_backend
from outthink.core.batch import Batch, Segment
from outthink.core.jobs import Draw, Drawn
from outthink.core.types import Sampling
from outthink.kv.store import Store
from outthink.models import Model, ModelError, load
from outthink.models.levels import _native
from outthink.models.loader import load_model
from outthink.models.native import NativeModel, draw_plain
from outthink.models.pages import BLOCK, Arena
from outthink.models.panels import Panels

pytestmark = pytest.mark.skipif(_native is None, reason="the native extension is not built")
Logits = dict[tuple[int, int], torch.Tensor]


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    if request.param not in _native.levels():
        pytest.skip(f"this processor has no {request.param}")
    name: str = request.param
    return name


@pytest.fixture(scope="module", params=["float32 of bfloat16", "float32", "bfloat16", "int8"])
def directory(request: pytest.FixtureRequest, save_tiny: Any) -> tuple[Path, str]:
    """A model with two blocks of keys, odd sizes everywhere, and the type to load it in."""
    dtype, _, saved = request.param.partition(" of ")
    changes = {
        "max_position_embeddings": 512,
        "hidden_size": 72,
        "intermediate_size": 100,
        "head_dim": 18,
        "num_key_value_heads": 2,
    }
    return save_tiny("qwen3", dtype=saved or "float32", **changes), dtype


def long_forest(seed: int) -> Forest:
    """Branches longer than a block of keys, some hanging in the middle of one."""
    return Forest.random(Random(seed), vocab=97, branches=14, longest=60)


def logits_of(model: Model, forest: Forest, seed: int) -> Logits:
    """All logits, work cut into random passes."""
    return evaluate(model, copy.deepcopy(forest), Random(seed))


def alone(model: Model, forest: Forest, index: int, at: int) -> torch.Tensor:
    """Logits of one token, its path in one pass of its own."""
    path = forest.prefix(index) + forest.branches[index].tokens[: at + 1]
    whole, _ = Forest([Branch(-1, path, start=7)]).batch({0: len(path)})
    whole.wanted = [len(path) - 1]
    return model.forward(whole, model.new_store(len(path) + 7))[0]


def check_bits(model: Model, forest: Forest, seed: int) -> None:
    """Two ways to cut the same work, and each row alone, give the same bits."""
    first, second = logits_of(model, forest, seed), logits_of(model, forest, seed + 1)
    both = first.keys() & second.keys()
    assert len(both) > 20
    for key in both:
        assert torch.equal(first[key], second[key]), key
    for key in Random(seed).sample(sorted(first), 12):
        assert torch.equal(first[key], alone(model, forest, *key)), key


def leaves(rows: int, prompt: int, tail: int) -> Batch:
    """A decode step of so many branches of one prompt."""
    batch = Batch(segments=[Segment(-1, 3, prompt)])
    for row in range(rows):
        start = 3 + prompt + row * (tail + 30)
        batch.segments.append(Segment(0, start, tail))
        batch.tokens.append(5 + row)
        batch.positions.append(prompt + tail - 1)
        batch.slots.append(start + tail - 1)
        batch.segment.append(row + 1)
        batch.visible.append(tail)
        batch.wanted.append(row)
    return batch


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("rows", [1, 11])
def test_several_steps_are_the_single_ones(
    directory: tuple[Path, str], level: str, rows: int, temperature: float
) -> None:
    path, dtype = directory
    model, batch = load_model(path, dtype, kernels=level), leaves(rows, prompt=60, tail=3)
    assert isinstance(model, NativeModel)
    sampling, stores = Sampling(temperature=temperature), [model.new_store(1000) for _ in range(2)]
    for store in stores:
        store.data.normal_(generator=torch.Generator().manual_seed(3))
    draws = [Draw(row, 2**63 + 7**row, 63, sampling, ()) for row in range(rows)]
    logits, steps, _ = model.write(batch, stores[0], draws, temperature, 9, bytes(97))
    assert len(steps) == 9 and all(len(step) == rows for step in steps)
    for step, several in zip(steps, logits.split(rows), strict=True):
        single = model.forward(batch, stores[1])
        assert torch.equal(several, single)
        drawn = [Drawn(*one) for one in draw_plain(level, single, draws, temperature, 1)]
        assert drawn == step
        batch = batch.after([one.token for one in drawn])
        draws = [d._replace(position=d.position + 1) for d in draws]
    assert torch.equal(stores[0].data, stores[1].data)


def test_the_step_that_draws_an_end_is_the_last(save_tiny: Any, level: str) -> None:
    model = load_model(save_tiny("llama"), kernels=level)
    assert isinstance(model, NativeModel)
    batch, store = leaves(4, prompt=20, tail=2), model.new_store(1000)
    draws = [Draw(row, 11 * row + 1, 21, Sampling(temperature=1.0), ()) for row in range(4)]
    steps = model.write(batch, store, draws, 1.0, 12, bytes(model.shape.vocab))[1]
    seen = [{drawn.token for drawn in step} for step in steps]
    last = next(i for i in range(3, 12) if seen[i] - set().union(*seen[:i]))
    ends = bytearray(model.shape.vocab)
    ends[min(seen[last] - set().union(*seen[:last]))] = 1
    assert model.write(batch, store, draws, 1.0, 12, bytes(ends))[1] == steps[: last + 1]


def test_branches_that_share_a_row_go_on_until_they_part(save_tiny: Any, level: str) -> None:
    model = load_model(save_tiny("llama"), kernels=level)
    assert isinstance(model, NativeModel)
    batch, ends = leaves(2, prompt=20, tail=2), bytes(model.shape.vocab)

    def write(keys: list[tuple[int, int]]) -> list[list[Drawn]]:
        """Of draws (row, key)."""
        draws = [Draw(row, key, 21, Sampling(temperature=1.0), ()) for row, key in keys]
        logits, steps, _ = model.write(batch, model.new_store(1000), draws, 1.0, 9, ends)
        assert len(logits) == 2 * len(steps)
        return steps

    alone = write([(0, 11), (1, 13)])
    assert [[a, a, b] for a, b in alone] == write([(0, 11), (0, 11), (1, 13)])
    parting = write([(0, 11), (0, 12), (1, 13)])
    tokens = [[drawn.token for drawn in step] for step in parting]
    assert all(a == b for a, b, _ in tokens[:-1]) and tokens[-1][0] != tokens[-1][1]
    assert [[a, c] for a, _, c in parting] == alone[: len(parting)]
    for wrong in ([(1, 1), (0, 1)], [(0, 1), (0, 1)], [(0, 1), (1, 1), (0, 1)]):
        with pytest.raises(ValueError, match="row"):
            write(wrong)


@pytest.mark.parametrize(
    "change",
    [
        {"wanted": [0]},
        {"draws": 3},
        {"steps": 300},
        {"slots": 62},
        {"ends": b"123"},
    ],
    ids=str,
)
def test_steps_without_room_or_draws_are_refused(save_tiny: Any, change: dict[str, Any]) -> None:
    model = load_model(save_tiny("llama", max_position_embeddings=128))
    assert isinstance(model, NativeModel)
    batch, store = leaves(4, prompt=20, tail=2), model.new_store(change.get("slots", 1000))
    batch.wanted = change.get("wanted", batch.wanted)
    draws = [Draw(row, row, 21, Sampling(), ()) for row in range(change.get("draws", 4))]
    with pytest.raises((ValueError, ModelError)):
        model.write(
            batch, store, draws, 1.0, change.get("steps", 2), change.get("ends", bytes(model.shape.vocab))
        )


@pytest.mark.parametrize("count", [1, 2, 5])
def test_bits_do_not_depend_on_company(directory: tuple[Path, str], level: str, count: int) -> None:
    path, dtype = directory
    model = load_model(path, dtype, kernels=level)
    torch.set_num_threads(count)
    check_bits(model, long_forest(count), seed=10 * count)


def test_bits_do_not_depend_on_threads(directory: tuple[Path, str], level: str) -> None:
    path, dtype = directory
    model, forest, seen = load_model(path, dtype, kernels=level), long_forest(3), []
    for count in (1, 2, 3, 2, 1):
        torch.set_num_threads(count)
        seen.append(logits_of(model, forest, seed=4))
    assert all(torch.equal(seen[0][key], other[key]) for other in seen[1:] for key in seen[0])


def test_bits_do_not_depend_on_slots_or_the_order_of_branches(
    directory: tuple[Path, str], level: str
) -> None:
    path, dtype = directory
    model, forest = load_model(path, dtype, kernels=level), fan(random=Random(5), branches=9)
    rows = model.forward(forest, model.new_store(2000))
    order = Random(6).sample(range(9), 9)
    other = fan(random=Random(5), branches=9, order=order, shift=300)
    mixed = model.forward(other, model.new_store(2300))
    for place, branch in enumerate(order):
        assert torch.equal(mixed[place], rows[branch])


def fan(random: Random, branches: int, order: list[int] | None = None, shift: int = 0) -> Batch:
    """A prompt of 150 tokens and branches of 30 to 130 behind it in one pass; the last row of each wanted."""
    prompt = [random.randrange(97) for _ in range(150)]
    tails = [[random.randrange(97) for _ in range(random.randint(30, 130))] for _ in range(branches)]
    forest = Forest([Branch(-1, prompt, start=shift)])
    for place, branch in enumerate(order or range(branches)):
        forest.branches.append(Branch(0, tails[branch], start=shift + 150 + 140 * (place + 1) % 1700))
    batch, rows = forest.batch({i: len(b.tokens) for i, b in enumerate(forest.branches)})
    batch.wanted = [
        i for i, (at, token) in enumerate(rows) if at and token == len(forest.branches[at].tokens) - 1
    ]
    return batch


def test_wide_group_of_query_heads(save_tiny: Any, level: str) -> None:
    """More than 64 query heads of one key head: one row is a chunk by itself."""
    path = save_tiny("llama", hidden_size=70, head_dim=4, num_attention_heads=70, num_key_value_heads=1)
    model, exact = load_model(path, kernels=level), load_model(path, "float64")
    forest = Forest.random(Random(2), vocab=97, branches=5, longest=40)
    ours, theirs = logits_of(model, forest, 3), logits_of(exact, forest, 3)
    for key, row in ours.items():
        torch.testing.assert_close(row.double(), theirs[key], atol=1e-4, rtol=0)
    check_bits(model, long_forest(8), seed=9)


def test_layers_can_be_left_out(save_tiny: Any, level: str) -> None:
    """Layers 0 and 2 are what a model without layer 1 computes; hidden rows times the head are logits."""
    path = save_tiny("llama", tie_word_embeddings=True, max_position_embeddings=512)
    model, torches = load_model(path, kernels=level), load_model(path, kernels="torch")
    assert isinstance(model, NativeModel)
    batch = fan(Random(1), branches=3)
    ours = model.forward(batch, model.new_store(2000), layers=[0, 2])
    del torches.layers[1]
    torches.which = range(2)
    torch.testing.assert_close(ours, torches.forward(batch, torches.new_store(2000)), atol=1e-4, rtol=0)
    early = model.forward(batch, model.new_store(2000), layers=[0], hidden=True)
    assert early.shape == (3, 32)
    logits = model.forward(batch, model.new_store(2000), layers=[0])
    torch.testing.assert_close(early @ model.parts.embed.float().t(), logits, atol=1e-4, rtol=0)


def test_a_draft_of_fewer_layers_leaves_the_rest_of_the_cache_alone(save_tiny: Any, level: str) -> None:
    model = load_model(save_tiny("llama", max_position_embeddings=512), kernels=level)
    assert isinstance(model, NativeModel)
    store, batch = model.new_store(2000), fan(Random(1), branches=3)
    model.forward(batch, store)
    before = store.data.clone()
    tail = Batch([5], [151], [1999], [1], [1], [0], [Segment(-1, 0, 150), Segment(0, 1999, 1)])
    model.forward(tail, store, layers=[0, 2])
    changed = (store.data != before).flatten(2).any(-1)
    assert changed.nonzero().tolist() == [[0, 1999], [2, 1999]]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"tokens": [97]}, r"batch.tokens\[0\] is 97"),
        ({"tokens": [-1]}, r"batch.tokens\[0\] is -1"),
        ({"slots": [8]}, r"batch.slots\[0\] is 8"),
        ({"segment": [1]}, r"batch.segment\[0\] is 1"),
        ({"visible": [3]}, "sees 3 of the 2 slots"),
        ({"visible": [0]}, "sees 0 of the 2 slots"),
        ({"wanted": [1]}, r"batch.wanted\[0\] is 1"),
        ({"positions": [0, 1]}, "must be a list of 1"),
        ({"segments": [Segment(-1, 7, 2)]}, "beyond the 8 slots"),
        ({"segments": [Segment(0, 0, 2)]}, "after its parent"),
        ({"segments": [Segment(-1, -1, 2)]}, "beyond the 8 slots"),
        ({"tokens": [2**70]}, "too large"),
    ],
)
def test_bad_batches_are_refused(save_tiny: Any, change: dict[str, Any], message: str) -> None:
    model = load_model(save_tiny("llama"), kernels="native")
    good = {"tokens": [3], "positions": [1], "slots": [1], "segment": [0], "visible": [2], "wanted": [0]}
    batch = Batch(**{**good, "segments": [Segment(-1, 0, 2)], **change})
    with pytest.raises((ValueError, OverflowError), match=message):
        model.forward(batch, model.new_store(8))


def test_a_cache_that_lies_otherwise_is_refused(save_tiny: Any) -> None:
    model = load_model(save_tiny("llama"), kernels="native")
    assert isinstance(model, NativeModel)
    shape = model.shape
    other = Store(shape.layers, 9, shape.kv_heads, shape.head_dim, model.dtype, "cpu")
    with pytest.raises(ValueError, match="use its new_store"):
        model.forward(Batch([1], [0], [0], [0], [1], [0], [Segment(-1, 0, 1)]), other)


def test_positions_beyond_the_model_are_refused(save_tiny: Any) -> None:
    model = load_model(save_tiny("llama"), kernels="native")
    with pytest.raises(ModelError, match="beyond the 256 positions"):
        model.forward(Batch([1], [256], [0], [0], [1], [0], [Segment(-1, 0, 1)]), model.new_store(1))


@pytest.mark.parametrize(
    "dtype, kernels, message",
    [
        ("float64", "native", "float32, bfloat16 and int8, not float64"),
        ("float32", "fast", "'fast' are not known; use one of auto, torch"),
    ],
)
def test_kernels_that_cannot_run_are_an_error(save_tiny: Any, dtype: str, kernels: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load(save_tiny("llama"), dtype, kernels=kernels)
    with pytest.raises(ModelError, match="no lean forward"):
        load(save_tiny("gpt2"), kernels="native")


def test_without_the_extension_native_is_an_error_and_auto_is_torch(
    save_tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outthink.models.levels._native", None)
    monkeypatch.delenv("OUTTHINK_KERNELS", raising=False)
    assert load(save_tiny("llama")).config.kernels == "torch"
    with pytest.raises(ModelError, match="was not built"):
        load(save_tiny("llama"), kernels="native")


def test_what_is_bfloat16_stays_so_and_what_is_not_is_kept_whole() -> None:
    weight = torch.randn(70, 33).bfloat16().double()
    assert not Panels.pack(weight, None, torch.float32).wide
    weight[69, 32] += 2.0**-20
    assert Panels.pack(weight, None, torch.float32).wide
    assert not Panels.pack(weight, None, torch.bfloat16).wide


def passes(model: Model, store: Any, out: list[torch.Tensor]) -> None:
    """The same pass many times."""
    batch = fan(Random(1), branches=3)
    out += [model.forward(batch, store) for _ in range(20)]


def test_passes_of_two_python_threads(save_tiny: Any) -> None:
    torch.set_num_threads(2)
    model = load_model(save_tiny("llama", max_position_embeddings=512), kernels="native")
    out: list[torch.Tensor] = []
    workers = [threading.Thread(target=passes, args=(model, model.new_store(2000), out)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(out) == 40 and all(torch.equal(out[0], other) for other in out)


def test_no_stage_begins_before_the_last_has_ended() -> None:
    """More threads than there may be cores: some are stopped in the middle of their work."""
    model = load_model(embedded()["pocket"], kernels="native")
    batch, store, seen = fan(Random(1), branches=6), model.new_store(2000), []
    for count in (1, *[4] * 30):
        torch.set_num_threads(count)
        seen.append(model.forward(batch, store))
    assert all(torch.equal(seen[0], other) for other in seen)


def in_child(model: Model, store: Any, expected: list[float], queue: Any) -> None:
    out: list[torch.Tensor] = []
    passes(model, store, out)
    queue.put(all(other[0].tolist() == expected for other in out))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of fork in a process with threads
def test_a_forked_process_has_threads_of_its_own(save_tiny: Any) -> None:
    torch.set_num_threads(2)
    model = load_model(save_tiny("llama", max_position_embeddings=512), kernels="native")
    store = model.new_store(2000)  # here: torch's own threads do not outlive a fork
    out: list[torch.Tensor] = []
    passes(model, store, out)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=in_child, args=(model, store, out[0][0].tolist(), queue))
    child.start()
    child.join(20)
    child.kill()
    assert child.exitcode == 0 and queue.get() is True


def test_weights_lie_on_lines_of_an_arena_and_last_as_long_as_they_are_used() -> None:
    arena = Arena()
    given = [
        torch.arange(n, dtype=kind) for n, kind in ((5, torch.float32), (70, torch.uint8), (0, torch.float32))
    ]
    held = [arena.hold(one) for one in given]
    assert all(torch.equal(a, b) for a, b in zip(given, held, strict=True))
    assert all(one.data_ptr() % 64 == 0 for one in held[:2]) and held[1].data_ptr() - held[0].data_ptr() == 64
    large = arena.hold(torch.ones(BLOCK // 4 + 1))  # more than a block
    del arena
    held[0] += 1
    assert held[1].tolist() == list(range(70)) and large.sum() == BLOCK // 4 + 1


def test_a_receipt_counts_the_bytes_of_packed_weights() -> None:
    """bfloat16 numbers take two bytes in whatever type they are computed, 8-bit ones about one."""
    read = {dtype: load_backend("pocket", dtype).about.prices.weight_bytes for dtype in ("float32", "int8")}
    assert read["float32"] == pytest.approx(2 * 4_690_000, rel=0.01)
    assert 0.5 < read["int8"] / read["float32"] < 0.6  # its head is not in 8 bits
