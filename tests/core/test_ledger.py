"""Scopes, reservations and the logical book, on plain records."""

from __future__ import annotations

import itertools

import pytest

from outthink.core.ledger import Distinct, Request, Scope, grants, open_scope
from outthink.core.receipt import Cost
from outthink.core.types import Budget


def request(scope: Scope, order: tuple[int, ...], tokens: int) -> Request:
    return Request(scope, order, tokens, lambda n: {"written": float(n)})


def nobody(_: Request) -> bool:
    return False


def test_a_charge_goes_to_the_nearest_open_scope_and_all_above() -> None:
    run = Scope("run", None, {"written": 100})
    think = open_scope(run, "think", Budget(written=50), 0.0)
    think.charge(Cost(written=10))
    think.is_open = False
    think.charge(Cost(written=5))
    assert (think.logical.written, run.logical.written, think.late) == (10, 15, 1)
    assert run.books()["run/think"].written == 10


def test_blocks_of_one_name_are_added_up() -> None:
    run = Scope("run")
    for _ in range(3):
        outer = open_scope(run, "verify", Budget(), 0.0)
        open_scope(outer, "verify", Budget(), 0.0).charge(Cost(verified=2))
    assert {name: cost.verified for name, cost in run.books().items()} == {
        "run/verify": 6,
        "run/verify/verify": 6,
    }


def test_room_is_the_least_over_all_caps() -> None:
    run = Scope("run", None, {"written": 30})
    think = open_scope(run, "think", Budget(written=50), 0.0)
    think.charge(Cost(written=10))
    think.reserve({"written": 5})
    assert think.room("written") == 15
    assert open_scope(think, "keep", Budget(), 0.0, keep=Budget(written=4)).caps == {"written": 11}


def serve(cap: int, wishes: list[tuple[int, int]], finish_order: list[int]) -> dict[int, int]:
    """(asked, used) of each request in line; grants as they come, ends in the given order. Who got what."""
    scope = Scope("run", None, {"written": cap})
    line = [request(scope, (0, i), asked) for i, (asked, _) in enumerate(wishes)]
    out: dict[int, Request] = {}
    got: dict[int, int] = {}
    while True:
        granted, _ = grants(line, nobody)
        for r in granted:
            line.remove(r)
            i = r.order[1]
            out[i], got[i] = r, r.granted
        if not out:
            return got
        i = min(out, key=finish_order.index)
        ended = out.pop(i)
        ended.give_back()
        scope.charge(Cost(written=min(wishes[i][1], ended.granted)))
        assert scope.logical.written <= cap


@pytest.mark.parametrize("cap", [7, 20, 35, 60])
def test_who_gets_what_does_not_depend_on_who_ends_first(cap: int) -> None:
    wishes = [(10, 4), (10, 10), (15, 3), (8, 8)]
    results = [serve(cap, wishes, list(order)) for order in itertools.permutations(range(4))]
    assert all(r == results[0] for r in results)


def test_an_earlier_request_that_waits_is_not_passed() -> None:
    scope = Scope("run", None, {"written": 20})
    first, big, small = request(scope, (0, 0), 15), request(scope, (0, 1), 10), request(scope, (0, 2), 2)
    assert grants([small, big, first], nobody) == ([first], [])
    first.give_back()
    scope.charge(Cost(written=15))
    assert grants([small, big], nobody) == ([big], []) and big.granted == 5


def test_one_that_may_still_ask_holds_the_later_ones_back() -> None:
    scope = Scope("run", None, {"written": 20})
    later = request(scope, (1, 0), 5)
    assert grants([later], lambda r: True) == ([], [])


def test_distinct_tokens_count_once() -> None:
    trie = Distinct()
    assert trie.walk(trie.root, [1, 2, 3])[1] == 3
    assert trie.walk(trie.root, [1, 2, 4])[1] == 1
    at, fresh = trie.walk(trie.root, [1, 2])
    assert fresh == 0 and trie.walk(at, [3, 5])[1] == 1


@pytest.mark.parametrize(
    "bad", [{"written": 0}, {"seconds": -1}, {"positions": 1.5}, {"flops": float("nan")}]
)
def test_a_budget_that_buys_nothing_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Budget(**bad)  # type: ignore[arg-type]


def test_adding_costs_forgets_no_field() -> None:
    from dataclasses import fields

    total = Cost(**{f.name: i + 1 for i, f in enumerate(fields(Cost))})
    total.add(total.copy())
    for i, f in enumerate(fields(Cost)):
        assert getattr(total, f.name) == (i + 1) * (1 if f.name == "cache_bytes" else 2), f.name


def test_blocks_of_one_name_add_up() -> None:
    root = Scope("run")
    for written in (2, 3):
        outer = Scope("run/think", root)
        Scope("run/think/again", outer).charge(Cost(written=written))
    books = root.books()
    assert {name: cost.written for name, cost in books.items()} == {"run/think": 5, "run/think/again": 5}
