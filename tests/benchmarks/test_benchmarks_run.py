"""Every benchmark runs, at its smallest, and what it reports is what it says."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import outthink as ot
from benchmarks import (
    certificate,
    drafting,
    forward,
    gpu,
    int8_draft,
    memory,
    overhead,
    positions,
    speed,
    stores,
)
from benchmarks import llama_cpp_rival as llama
from benchmarks.machine import Watch
from benchmarks.ours import local
from benchmarks.peers import __main__ as peers
from benchmarks.peers import treequest_rival
from benchmarks.prompts import Prompts
from benchmarks.report import Section, Target, kept, put, render
from benchmarks.speculation import __main__ as speculation
from benchmarks.speculation import state, streams, theirs
from benchmarks.speculation.model import Model
from benchmarks.speculation.sizes import QUICK
from benchmarks.theirs import Transformers
from outthink.backends.load import kernels, locate
from outthink.engine.engine import Engine
from outthink.speculate import Copy, Trie

MINI = "pocket-mini"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return ot.load(MINI, threads=1)


@pytest.fixture(scope="module")
def bench(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> speed.Bench:
    """The small model against transformers, and against llama.cpp where that is."""
    folder = tmp_path_factory.mktemp("gguf")
    if not llama.missing():
        speed.export_all(locate(MINI), folder)
    network = Transformers.load(locate(MINI), "float32")
    return speed.Bench("float32", 1, engine, network, Prompts(engine.main.tokenizer), folder)


def numbers(cells: list[str]) -> list[float]:
    """The first number of each cell that has one."""
    return [float(found[0]) for cell in cells if (found := re.search(r"\d+(\.\d+)?", cell))]


def all_targets(sections: list[Section]) -> list[Target]:
    return [target for one in sections for target in one.targets]


def section(title: str, *rows: str) -> Section:
    return Section(title, ["a"], [[row] for row in rows])


def test_a_section_is_put_where_the_last_one_was_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    whole = render(["a machine"], [section("One", "1"), section("Two", "2"), section("Two more", "3")])
    path.write_text(whole)
    assert kept(path, "Three") == "" == kept(tmp_path / "none", "One")
    put(path, section("Three", "4"))
    assert path.read_text() == f"{whole}\n{section('Three', '4').text()}\n"
    put(path, section("Two", "5", "6"))
    assert kept(path, "Two") == section("Two", "5", "6").text()
    assert kept(path, "Two more") == section("Two more", "3").text()
    put(path, section("Two", "2"))
    assert path.read_text() == f"{whole}\n{section('Three', '4').text()}\n"


def test_the_gpu_benchmark_on_what_there_is() -> None:
    found = gpu.section(["tiny"], (1, 3), "cpu", new=4, rounds=1)
    assert [row[:2] for row in found.rows] == [["tiny", "1"], ["tiny", "3"]]
    assert all(min(numbers(row[2:5])) > 0 for row in found.rows)
    assert "these numbers mean nothing" in found.text()


def test_the_gpu_benchmark_sees_other_weights() -> None:
    network = gpu.network_of("tiny", "cpu")
    engine, theirs = gpu.engine_of(network, "tiny", "cpu"), Transformers(network)
    assert all(parameter.dtype == torch.bfloat16 for parameter in network.parameters())
    assert 0 < gpu.apart(engine, theirs) < gpu.CLOSE / 10
    with torch.no_grad():
        network.lm_head.weight.neg_()
    assert gpu.apart(engine, theirs) > gpu.CLOSE


def test_without_a_gpu_no_result_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU: a run takes minutes")
    monkeypatch.setattr(sys, "argv", ["gpu", "--out", str(tmp_path / "RESULTS.md")])
    gpu.main()
    assert "No CUDA device" in capsys.readouterr().out and not list(tmp_path.iterdir())


def test_tokens_per_second(bench: speed.Bench) -> None:
    lines = [speed.Line(1, greedy=True, rounds=1, new=4), speed.Line(3, rounds=1, new=4)]
    found = speed.measure([bench], lines, True, Watch())
    assert [row[1] for row in found.rows] == [str(line) for line in lines]
    assert all(min(numbers(row[2:5])) > 0 for row in found.rows)
    assert all((row[5] == "-") == bool(llama.missing()) for row in found.rows)
    assert any("over transformers" in target.what for target in found.targets)


def test_concurrent_requests(bench: speed.Bench) -> None:
    found = speed.concurrency([bench], locate(MINI), rounds=1, many=2, new=4)
    assert len(found.rows) == len(found.targets) == 4
    assert all(target.value and target.value > 0 for target in found.targets)


def test_time_outside_the_forward(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overhead, "TARGETS", {1: 0.2, 4: 0.1})
    found = overhead.measure({"float32": engine}, Prompts(engine.main.tokenizer), rounds=1, new=60)
    assert [row[1] for row in found.rows] == ["1", "4"]
    assert all(target.value is not None and 0 < target.value < 1 for target in found.targets)


def test_positions(engine: Engine) -> None:
    found = positions.measure(local(engine.main), n=2, problems=1, new=8)
    assert len(found.rows) == len(positions.PARALLEL)
    assert [target.verdict for target in found.targets] == ["reached", "reached"]


class Here:
    """A pool of processes that is this one."""

    def __init__(self, count: int) -> None:
        assert count == 1

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def apply(self, call: Any, given: tuple[int, ...]) -> Any:
        return call(*given)


def test_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.multiprocessing, "get_context", lambda way: SimpleNamespace(Pool=Here))
    found = memory.measure(branches=8, length=64, new=24)
    slots = {row[0]: float(row[1]) for row in found.rows}
    assert 8 * 24 + 55 <= slots["prompt + tails"] <= 8 * 24 + 64
    # equal beginnings are one; the last token of a branch has a slot, but never cache
    assert 55 + 24 <= slots["allocated at peak"] <= slots["tensors"] + 8
    assert slots["a cache for each branch would be"] == 8 * (64 + 24)
    assert all(target.value and target.value < 2 for target in found.targets)


def test_drafts_in_8_bits() -> None:
    if not kernels().startswith("native"):
        pytest.skip("the native kernels were not built: torch has no copy in 8 bits that drafts")
    passes, drafts = int8_draft.measure(scale=0.1, tokens=4, problems=1)
    assert len(passes.rows) == 4 and all(min(numbers(row[2:])) > 0 for row in passes.rows)
    assert [row[:3] for row in drafts.rows] == [
        [dtype, heat, n] for dtype in ("float32", "bfloat16") for heat in ("0.0", "0.8") for n in ("2", "4")
    ]
    assert all(min(numbers(row[3:6])) > 0 for row in drafts.rows)
    assert int8_draft.predicted({1: 2.0, 3: 3.0}, {1: 0.5}, 2, 1.0) == 2.0 * 3 / (3.0 + 2 * 0.5)


def test_a_datastore() -> None:
    found = stores.measure(0.02, MINI, lookups=4, rounds=1)
    assert len(found.rows) == 3 and all(min(numbers(row[1:])) > 0 for row in found.rows)
    assert all(target.value and "0.02 MB" in target.what for target in found.targets)


def test_what_a_draft_costs() -> None:
    prompt = [1, 2, 3, 4, 5, 6]
    for answer, repeats in (([2, 3, 4, 5, 9, 2, 3, 4], True), ([21, 22, 23, 24], False)):
        for drafter in (Copy(), Trie()):
            told, again = (drafting.walk(drafter, [drafting.Text(prompt, answer)]) for _ in range(2))
            assert told.fingerprint == again.fingerprint
            assert len(told.seconds) == len(answer) - told.accepted
            assert told.drafted >= told.accepted and bool(told.accepted) == repeats


def test_one_forward_pass(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--repeats", "1", "--dtypes", "float32", "--threads", "1", "--directory", str(locate(MINI))]
    monkeypatch.setattr(sys, "argv", ["forward", *given])
    forward.main()
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("float32")]
    assert [row[1] for row in rows] == ["1", "4", "16", "64"]
    assert all(min(numbers(row[2:6])) > 0 for row in rows)


def test_speculation(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (streams, theirs, state):
        monkeypatch.setattr(module, "MOST", 8)
    model = Model.load("mini", locate(MINI), threads=1)
    found = [*speculation.sections(model, QUICK, quick=True), state.measure(model, QUICK)]
    assert len({one.title for one in found}) == len(found) == 9 and all(one.rows for one in found)
    unknown = [target.what for target in all_targets(found) if target.value is None]
    assert all("passages" in what for what in unknown)  # those need a text that is not in the package
    names = {row[2] for row in found[5].rows}
    assert {"draft_model", "copy"} <= names and any(name.startswith("transformers, ") for name in names)


def test_a_certificate() -> None:
    setting = certificate.Setting("float32", "float32", "copy")
    found = certificate.measure(setting, "countdown", 1, 0)
    texts, same = (sum(run[name] for run in found["runs"]) for name in ("texts", "identical"))
    assert texts == same > 0
    assert f"| {texts} | {same} |" in certificate.page([found])
    found["runs"][0]["identical"] -= 1
    found["runs"][0]["partings"].append({"margin": 1.0})
    assert "**no**" in certificate.page([found])


def test_a_scripted_tree_has_all_its_nodes() -> None:
    shape = treequest_rival.here("gaussian", 12, seed=3)
    assert 1 <= shape.width <= 12 and 1 <= shape.depth <= 12 and 0 < shape.best <= 1 and shape.seconds > 0


@pytest.mark.parametrize("peer", peers.PEERS)
def test_a_peer(peer: str) -> None:
    module, rival = peers.PEERS[peer]
    if not peers.is_there(module):
        pytest.skip(f"{peer} is not installed")
    found = importlib.import_module(f"benchmarks.peers.{rival}").measure(MINI, True)
    values = [target.value for target in all_targets(found)]
    assert all(one.rows for one in found) and values and None not in values
