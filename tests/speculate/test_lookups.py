"""Several sources under `auto`: one tree of all drafts, a record for each source, and who is too dear."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from drafters import Asking

from outthink.core.draft import Draft, path_probabilities
from outthink.core.drafting import Outcome, Tip
from outthink.core.types import Sampling
from outthink.speculate._lookups import DEAR, SURE, WEIGHT, Lookups, Record, expected, merged

GREEDY = Sampling(temperature=0.0)


def tip() -> Tip:
    return Tip([1, 2], 1, GREEDY)


def lookups(*drafts: Draft | None, costs: dict[str, float] | None = None, ticks: Any = None) -> Lookups:
    studio: Any = SimpleNamespace(vocab=99, shares_noise=True)
    sources = [Asking(lambda *_, draft=draft: draft).open(studio) for draft in drafts]
    clock = iter(ticks or [])
    found = Lookups(
        [lambda source=source: source for source in sources],  # type: ignore[misc]
        {} if costs is None else costs,
        lambda: next(clock, 0.0),
    )
    found.open(tip())
    return found


def paths(draft: Draft) -> dict[tuple[int, ...], float]:
    """Every node by the tokens down to it, with its path's probability."""
    found: list[tuple[int, ...]] = []
    for token, parent in zip(draft.tokens, draft.parents, strict=True):
        found.append((*(found[parent] if parent >= 0 else ()), token))
    return dict(zip(found, path_probabilities(draft), strict=True))


# ------------------------------------------------------------------------------------------- one tree of all


def test_all_drafts_become_one_tree_without_a_node_twice() -> None:
    one = Draft.chain([5, 6, 7], [0.9, 0.5, 0.5], "one")
    two = Draft((5, 8, 6, 9), (-1, 0, 0, 2), (0.7, 0.3, 0.6, 0.9), by="two")
    tree = merged([one, two], 9)
    assert tree is not None and tree.by == "two+one"
    assert paths(tree) == pytest.approx(
        {(5,): 0.9, (5, 6): 0.9 * 0.6, (5, 6, 9): 0.54 * 0.9, (5, 6, 7): 0.54 * 0.1, (5, 8): 0.9 * 0.3}
    )


def test_siblings_have_no_more_than_one_between_them() -> None:
    """Two sources are sure, of different tokens: at most one of them can be right."""
    tree = merged([Draft.chain([5], [0.8], "one"), Draft.chain([6], [0.7], "two")], 9)
    assert tree is not None and paths(tree) == pytest.approx({(5,): 0.8, (6,): 0.2})


def test_the_most_promising_draft_has_the_room() -> None:
    weak, strong = Draft.chain([5, 6], [0.2, 0.2], "weak"), Draft.chain([7, 8], [0.9, 0.9], "strong")
    tree = merged([weak, strong], 3)
    assert tree is not None and tree.by == "strong+weak" and len(tree.tokens) == 3
    assert set(paths(tree)) == {(7,), (7, 8), (5,)}


def test_a_draft_that_has_all_of_the_others_stays_as_it_is() -> None:
    long, short = Draft.chain([5, 6], [0.9, 0.9], "long"), Draft.chain([5], [0.5], "short")
    assert merged([short, long], 9) is long


def test_what_was_drawn_is_not_mixed() -> None:
    """A rule that weighs draws must hear of all of one source's, and of nothing else."""
    drawn = Draft((5,), (-1,), (0.4,), ({5: -0.5},), "drawn")
    assert merged([drawn, Draft.chain([6], [0.3], "other")], 9) is drawn


def test_what_is_hopeless_is_no_draft() -> None:
    assert merged([Draft.chain([5], [0.04], "one")], 9) is None and merged([], 9) is None


# --------------------------------------------------------------------------------------- what a word is worth


def test_a_record_begins_with_the_source_s_own_word_and_comes_to_what_was_measured() -> None:
    record, chain = Record(), Draft.chain([5, 6], [0.9, 0.9])
    assert record.trusted([0.9, 0.1]) == pytest.approx([0.9, 0.1])
    assert record.follow(chain, chain.conf, [5, 7]) == 1
    assert record.trusted([0.9]) == pytest.approx([(0.98 + WEIGHT * 0.9) / (1.98 + WEIGHT)])
    assert record.trusted([0.1]) == pytest.approx([0.1]), "other confidences have records of their own"
    for _ in range(2000):
        record.follow(chain, chain.conf, [5, 6, 1])
    assert 0.97 < record.trusted([0.9])[0] <= SURE


def test_nodes_below_a_wrong_one_say_nothing() -> None:
    record, chain = Record(), Draft.chain([5, 6, 7], [0.9, 0.9, 0.9])
    assert record.follow(chain, chain.conf, [4]) == 0
    assert sum(record.tries) == 1 and sum(record.hits) == 0


def test_each_source_is_judged_by_its_own_draft() -> None:
    """In one tree of both, the token of one is right: its record rises, the other's falls."""
    both = lookups(Draft.chain([5], [0.5], "one"), Draft.chain([6], [0.5], "two"))
    given, tree = both.propose(tip(), 4, 8)
    assert tree is not None and len(given) == 2 and len(tree.tokens) == 2
    for one in given:
        one.record.follow(one.draft, one.own, [6])
    assert both.record("two").trusted([0.5])[0] > 0.5 > both.record("one").trusted([0.5])[0]
    _, tree = both.propose(tip(), 4, 8)
    assert tree is not None and tree.tokens[0] == 6 and tree.by == "two+one"


def test_expected_is_the_sum_over_paths() -> None:
    assert expected(Draft((1, 2, 3), (-1, 0, 0), (0.5, 0.5, 0.25))) == pytest.approx(0.5 + 0.25 + 0.125)


# ---------------------------------------------------------------------------------------------- who is asked


def test_who_costs_much_beside_a_step_is_not_asked_and_not_told() -> None:
    chain = Draft.chain([5], [0.5])
    costs = {"0 asking": 1e-5, "0 telling": 1e-5, "1 asking": 2e-4}
    both = lookups(chain, chain, costs=costs)
    assert both.cheap(3e-4) and [one.source for one in both.asked] == [both.all[0].source]
    both.propose(tip(), 4, 8)
    both.observe(tip(), Outcome(None, {-1: 1}, (), (1,), {}))
    assert [len(one.source.heard) for one in both.all] == [1, 0]  # type: ignore[attr-defined]
    assert both.cheap(2e-4 / DEAR) and len(both.asked) == 2, "beside a long step it is cheap again"
    assert not both.cheap(1e-5) and not both.asked


def test_what_a_source_costs_is_measured_and_outlives_the_request() -> None:
    costs: dict[str, float] = {}
    one = lookups(Draft.chain([5], [0.5]), costs=costs, ticks=[0.0, 2e-5, 1.0, 1.0 + 1e-5, 2.0, 3.0])
    one.propose(tip(), 4, 8)
    one.observe(tip(), Outcome(None, {-1: 1}, (), (1,), {}))
    assert one.all[0].cost == pytest.approx(3e-5)
    one.propose(tip(), 4, 8)
    assert one.all[0].cost < 4e-5, "a second's interruption is not what it costs"
    assert lookups(None, costs=costs).all[0].cost == one.all[0].cost


def test_who_is_never_asked_is_never_opened() -> None:
    opened: list[int] = []

    def opener(i: int) -> Any:
        opened.append(i)
        return Asking(lambda *_: None).open(SimpleNamespace(vocab=99, shares_noise=True))  # type: ignore[arg-type]

    both = Lookups([lambda: opener(0), lambda: opener(1)], {"1 asking": 1.0}, lambda: 0.0)
    assert both.cheap(1e-3) and both.tops == 0 and not both.opened and not opened
    both.open(tip())
    both.open(tip())
    assert opened == [0] and len(both.opened) == 1


def test_one_that_cannot_be_opened_costs_itself() -> None:
    said: list[str] = []
    good = Asking(lambda *_: Draft.chain([5], [0.5])).open(SimpleNamespace(vocab=99, shares_noise=True))  # type: ignore[arg-type]

    def broken() -> Any:
        raise OSError("the file is gone")

    both = Lookups([broken, lambda: good], {}, lambda: 0.0)
    heard = Tip([1, 2], 1, GREEDY, complain=lambda what, name="": said.append(what))
    for _ in range(3):
        both.cheap(1.0)
        both.open(heard)
        assert both.propose(heard, 4, 8)[1] is not None
    assert len(said) == 1 and "the file is gone" in said[0]
