"""The driver of a cluster, on a Ray that is scripted: who dies, what is begun again, and what is given up."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_ray import FakeRay, Ref

import outthink as ot
from outthink import cli
from outthink.backends.toy import toy
from outthink.bench.cluster import DEATHS, RayCluster, WorkerLost
from outthink.core.errors import BadInput
from outthink.engine.engine import Engine
from outthink.engine.request import Request

Cluster = Callable[..., RayCluster]


def requests(count: int) -> list[Request]:
    sampling = ot.Sampling(max_tokens=8)
    return [Request(ot.strategy.Once(), "ab", seed=i, sampling=sampling, tag=i) for i in range(count)]


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    made = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", made)
    return made


def cluster(**given: Any) -> RayCluster:
    return RayCluster(lambda: Engine(toy()), **{"workers": 2} | given)


def tag(ref: Ref) -> Any:
    return ref.args[0].tag if ref.name == "solve" else None


def test_answers_are_those_of_one_engine(ray: FakeRay) -> None:
    made, engine = cluster(), Engine(toy())
    found = {done.request.tag: done.answer for done in made.map(requests(20), concurrency=6)}
    assert found == {request.tag: engine.run(request) for request in requests(20)}
    made.close()
    assert not ray.is_up and all(actor.is_dead for actor in ray.actors)


def test_each_has_its_share_even_if_another_has_loaded_first(ray: FakeRay) -> None:
    assert len(list(cluster().map(requests(4), concurrency=4))) == 4
    assert Counter(ref.actor.number for ref in ray.asked if ref.name == "solve") == {0: 2, 1: 2}


def test_no_more_are_in_work_than_may_be(ray: FakeRay) -> None:
    taken: list[int] = []

    def source() -> Any:
        for request in requests(12):
            taken.append(request.tag)
            yield request

    for number, _ in enumerate(cluster().map(source(), concurrency=3), 1):
        assert len(taken) - number < 3


def test_what_a_dead_worker_had_is_begun_again_and_nothing_else(ray: FakeRay) -> None:
    ray.dies = lambda ref: ref.actor.number == 0 and tag(ref) == 4
    again: list[int] = []
    made = cluster(again=lambda request: again.append(request.tag))
    found = [done.request.tag for done in made.map(requests(12), concurrency=4)]
    assert sorted(found) == list(range(12)) and len(ray.actors) == 3
    runs = Counter(tag(ref) for ref in ray.asked if tag(ref) is not None)
    assert 4 in again and sorted(t for t, count in runs.items() if count > 1) == sorted(again)
    assert len(again) <= 4 and max(runs.values()) == 2


def test_what_kills_every_worker_is_given_up(ray: FakeRay) -> None:
    ray.dies = lambda ref: tag(ref) == 2
    done = list(cluster().map(requests(6), concurrency=1))
    [lost] = [one for one in done if one.error]
    assert lost.request.tag == 2 and isinstance(lost.error, WorkerLost) and "died 3 times" in str(lost.error)
    assert len(done) == 6 and [tag(ref) for ref in ray.asked].count(2) == DEATHS


def test_workers_that_die_as_they_load_are_not_made_for_ever(ray: FakeRay) -> None:
    ray.dies = lambda ref: ref.name == "open"
    with pytest.raises(WorkerLost, match="3 workers died as they loaded"):
        list(cluster().map(requests(1)))
    assert len(ray.actors) < 6


def test_what_loading_says_is_said(ray: FakeRay) -> None:
    def load() -> Engine:
        raise BadInput("no such model")

    with pytest.raises(BadInput, match="no such model"):
        list(RayCluster(load, workers=1).map(requests(1)))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"workers": 3}, "room for 2 workers of 1 core.s., not 3"),
        ({"workers": 1, "cores": 3}, "room for 0 workers of 3 core"),
        ({"workers": 1, "gpu": True}, "room for 0 workers of 1 core.s. and a GPU"),
    ],
)
def test_a_cluster_without_room_is_said_at_once(ray: FakeRay, given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        cluster(**given)
    assert not ray.is_up and not ray.actors


def test_one_worker_a_node_that_is_alive(ray: FakeRay) -> None:
    assert cluster(workers=0).workers == 1


def test_a_cluster_that_was_there_before_stays(ray: FakeRay) -> None:
    ray.init()
    cluster().close()
    assert ray.is_up


# ---- the command


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--cluster", "rey"], "no cluster named 'rey'; did you mean 'ray'?"),
        (["--workers", "2"], "--cluster ray"),
        (["--cluster", "ray", "--workers", "0"], "workers=0: give at least 1"),
        (["--cluster", "ray", "--threads", "0"], "threads=0: give at least 1"),
        (["--cluster", "ray"], "pip install 'outthink[ray]'"),
    ],
)
def test_the_command_says_what_is_wrong(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, given: list[str], said: str
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    file = tmp_path / "in.jsonl"
    file.write_text('{"prompt": "ab"}\n')
    words = ["map", str(file), "--out", str(tmp_path / "out"), "--model", "toy", *given]
    assert cli.run(words) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()
