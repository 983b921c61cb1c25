"""The benchmark of strategies: equal budgets are kept, pairs are pairs, and its arithmetic is right."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import outthink as ot
from benchmarks.strategies import checking, comparing, lines, live, overhead, parts, pool, replaying
from benchmarks.strategies.comparing import Point, Ratio, Results
from benchmarks.strategies.settings import FAMILIES, MULTIPLES, Cell, Unit, cells
from outthink.spec import parse

UNITS = {"paths": Unit(25.03, 25, 10), "steps": Unit(45.6, 56, 16), "procedures": Unit(83.0, 102, 19)}
FIRST = cells("paths", 1, (0, 1))


@pytest.fixture(scope="module")
def engine() -> Any:
    return ot.load("pocket-mini", threads=1)


@pytest.fixture(scope="module")
def pooled(engine: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, replaying.Pooled]:
    path = tmp_path_factory.mktemp("pool") / "pool.jsonl"
    pool.record(engine, path, FIRST, size=8)
    return path, replaying.load(path, {"paths": FIRST})["paths"]


# ------------------------------------------------------------------------------------------ budgets, sizes


@pytest.mark.parametrize("room", range(1, 70))
def test_what_is_spread_is_as_much_as_fits(room: int) -> None:
    width, expand = parts.spread(room)
    assert 1 <= expand <= 4 and room - 1 <= width * expand <= room


@pytest.mark.parametrize("unit", UNITS.values())
@pytest.mark.parametrize("multiple", MULTIPLES)
def test_what_is_written_side_by_side_fits_the_cap(unit: Unit, multiple: int) -> None:
    room = unit.room(multiple)
    assert unit.cap(multiple) - 1 < multiple * unit.mean <= unit.cap(multiple)
    assert room == 1 or room * unit.long <= unit.cap(multiple)
    assert (room + 1) * unit.long > unit.cap(multiple)


@pytest.mark.parametrize("multiple", [1, 2])
def test_every_strategy_keeps_the_smallest_budgets(engine: Any, multiple: int) -> None:
    """At the edge, where a cap cuts nearly everything; and an error is a line, not the end of the sweep."""
    for entry in parts.live():
        if entry.verifier not in (parts.NONE, parts.ORACLES[0]):
            continue
        line = live.run(engine, live.Group("paths", entry, multiple), UNITS["paths"], FIRST)
        assert all(0 < written <= line["cap"] for written in line["written"]), line["config"]
        assert line["cap"] == UNITS["paths"].cap(multiple) and not line["errors"]


def test_every_configuration_can_be_read() -> None:
    for unit in UNITS.values():
        for multiple in MULTIPLES:
            for entry in (*parts.live("judge()"), *parts.replayed("recorded()")):
                at = parts.At(multiple, unit.room(multiple), unit.cap(multiple), unit.step, entry.verifier)
                parse(entry.config(at), "strategy")


# ---------------------------------------------------------------------------------------------- pairs


def test_no_two_seeds_share_a_problem_and_all_strategies_share_a_seed() -> None:
    found = [cell for family in FAMILIES for cell in cells(family)]
    assert len({(cell.family, cell.number) for cell in found}) == len(found) == len({c.key() for c in found})
    assert Cell("steps", 3, 24).key() == Cell("steps", 3, 24).key() != Cell("steps", 4, 24).key()


def test_the_pool_is_what_a_live_run_writes(engine: Any, pooled: tuple[Path, replaying.Pooled]) -> None:
    """Sample for sample, and so every selector on it: answers and tokens."""
    compared = []
    for entry in parts.replayed():
        if not entry.strategy.endswith(parts.SIDE_BY_SIDE):
            group = live.Group("paths", entry, 4)
            compared += checking.compare(engine, pooled[1], group, UNITS["paths"], FIRST)
    assert len(compared) > 30
    assert [one for one in compared if not one.is_same] == []


def test_a_draw_takes_what_the_cap_pays_for(pooled: tuple[Path, replaying.Pooled]) -> None:
    ready = replaying.prepare("vote()", parse("vote()", "strategy"), pooled[1].problems, "x")
    own = ready.problems[0]
    tokens = [sample.tokens for sample in own.samples]
    order = [3, 1, 2, 0, 4, 5, 6, 7]
    first, two = tokens[3], tokens[3] + tokens[1]
    assert replaying.spend(ready, own, order, two)[1:4] == (two, 2, 2)
    assert replaying.spend(ready, own, order, two - 1)[1:4] == (first, 1, 1)
    assert replaying.spend(ready, own, order, 10**6, most=5)[1:4] == (sum(tokens[i] for i in order[:5]), 5, 5)
    for right, cap, expected in [(True, first - 1, 1.0), (True, first - 2, 0.0), (False, first - 1, 0.0)]:
        told = own.__class__(own.id, own.problem, own.samples, (right,) * 8, own.lines)
        assert replaying.spend(ready, told, order, cap)[:3] == (expected, cap, 0)


def test_what_killing_early_saves_buys_samples(pooled: tuple[Path, replaying.Pooled]) -> None:
    """One long sample, then short ones: it is killed one token after these end, as ties would be its own."""
    ready = replaying.prepare("short", parse("short(m=1, k=1000)", "strategy"), pooled[1].problems, "x")
    own = ready.problems[0]
    tokens = [40, 10, 10, 10, 10, 10, 10, 10]
    samples = tuple(replace(s, tokens=n) for s, n in zip(own.samples, tokens, strict=True))
    told = own.__class__(own.id, own.problem, samples, own.right, own.lines)
    spent = {cap: replaying.spend(ready, told, range(8), cap) for cap in (50, 60, 61, 10**6)}
    assert {cap: found.drawn for cap, found in spent.items()} == {50: 4, 60: 5, 61: 6, 10**6: 8}
    assert [found.written for found in spent.values()] == [41, 51, 61, 81]


# --------------------------------------------------------------------------------------- files, resuming


def test_a_line_that_a_kill_cut_is_run_again(engine: Any, tmp_path: Path) -> None:
    path = tmp_path / "live.jsonl"
    todo = live.groups(parts.live()[:1], ["paths"], (1, 2))

    def sweep() -> list[str]:
        said: list[str] = []
        live.sweep(engine, path, todo, UNITS, lambda family: FIRST, say=said.append)
        return said

    assert len(sweep()) == 2 and not sweep()
    whole = lines.read(path)
    path.write_bytes(path.read_bytes()[:-7])
    assert lines.read(path) == whole[:1] and len(sweep()) == 1
    again = lines.read(path)
    assert [live.key_of(line) for line in again] == [live.key_of(line) for line in whole]
    assert again[1]["right"] == whole[1]["right"] and again[1]["written"] == whole[1]["written"]


# ------------------------------------------------------------------------------------------- arithmetic


def test_tokens_needed_are_read_off_a_curve_that_never_falls() -> None:
    curve = [(1.0, 0.2), (2.0, 0.4), (4.0, 0.3), (8.0, 0.6)]
    assert comparing.needed(curve, 0.1) == comparing.needed(curve, 0.2) == 1.0
    assert comparing.needed(curve, 0.3) == pytest.approx(2**0.5)
    assert comparing.needed(curve, 0.4) == pytest.approx(2.0)
    assert comparing.needed(curve, 0.5) == pytest.approx(4.0)  # halfway between 2 and 8 in the logarithm
    assert math.isinf(comparing.needed(curve, 0.61))


def test_a_rival_of_half_the_speed_needs_twice_the_tokens() -> None:
    right = [[float(i % 10 < level) for i in range(40)] for level in (2, 4, 6, 8)]
    rival = [Point(tuple(r), (float(2 ** (i + 1)),) * 40) for i, r in enumerate(right)]
    own = Point(tuple(right[1]), (2.0,) * 40)
    ratio = comparing.token_ratio(own, rival)
    assert ratio.value == pytest.approx(2.0) and ratio.low <= 2.0 <= ratio.high
    beyond = comparing.token_ratio(Point((1.0,) * 40, (2.0,) * 40), rival)
    assert beyond == Ratio(math.inf, 8.0, math.inf, 8.0)  # its largest budget is 8 times as large


def test_differences_are_paired_and_averaged_over_budgets() -> None:
    """One always right where the other is, and in a tenth of cells more: pairing leaves little doubt."""
    base = tuple(float(i % 2) for i in range(100))
    more = tuple(1.0 if i % 10 == 0 else value for i, value in enumerate(base))
    ones = (1.0,) * 100
    gap = comparing.difference([(Point(more, ones), Point(base, ones))])
    assert gap.difference == pytest.approx(0.1) and 0 < gap.low < 0.1 < gap.high < 0.2
    both = comparing.difference(
        [(Point(more, ones), Point(base, ones)), (Point(base, ones), Point(more, ones))]
    )
    assert both == (0.0, 0.0, 0.0)


def test_verdicts_need_the_whole_interval() -> None:
    cases = [(0.01, 0.1), (-0.01, 0.1), (-0.03, 0.1), (-0.1, -0.01)]
    assert [comparing.no_worse(*c) for c in cases] == ["holds", "holds", comparing.OPEN, comparing.FAILS]
    assert [comparing.better(*c) for c in cases] == ["holds", comparing.OPEN, comparing.OPEN, comparing.FAILS]
    four = comparing.at_least(4.0)
    assert [four(4.0, 9.0), four(3.9, 9.0), four(1.0, 3.9)] == ["holds", comparing.OPEN, comparing.FAILS]
    assert comparing.at_least(1.0)(0.5, math.inf) == comparing.OPEN


def test_a_point_is_all_families_or_none() -> None:
    def line(family: str, right: list[int]) -> lines.Line:
        return {"family": family, "right": right, "written": [10, 20]}

    found = {("a", "vote", "", 1): line("a", [1, 0]), ("b", "vote", "", 1): line("b", [1, 1])}
    results = Results(found, ("a", "b"), {"a": 10.0, "b": 20.0})
    point = results.point("vote", "", 1)
    assert point == Point((1.0, 0.0, 1.0, 1.0), (1.0, 2.0, 0.5, 1.0)) and point.accuracy == 0.75
    assert results.point("vote", "", 2) is None and list(results.curve("vote", "")) == [1]
    del found["b", "vote", "", 1]
    assert results.point("vote", "", 1) is None and not results.curve("vote", "")


def test_the_committed_data_keeps_every_cell(engine: Any) -> None:
    """What pairs need stays; what is needed in the mean alone does not take a value a cell."""
    line = live.run(engine, live.Group("paths", parts.live()[0], 1), UNITS["paths"], FIRST)
    kept = comparing.compact(line)
    assert kept["right"] == line["right"] and kept["written"] == line["written"] and len(kept["right"]) == 2
    assert kept["positions"] == sum(line["positions"]) / 2


# -------------------------------------------------------------------------------------------- positions


@pytest.mark.parametrize("name", [*parts.ALONE, *parts.SEARCHES])
def test_each_distinct_token_is_evaluated_once(engine: Any, name: str) -> None:
    """Rows counted at the model, steps of one call each; tokens in a trie of what branches wrote or were
    given: nothing that the engine says. The last token of a text is not evaluated."""
    cost = overhead.cost(engine.main.backend, name, overhead.configs()[name], "paths", problems=1)
    assert cost.distinct > 60 and 0.8 * cost.distinct < cost.rows <= 1.05 * cost.distinct
