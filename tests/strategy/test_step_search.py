"""Step searches on a tree known by heart: what they expand, in which order, and what they answer."""

from __future__ import annotations

import math
from typing import Any

import pytest
from golden import LEAVES, MANY, TABLE, VALUES, VOCAB, Told, nodes, run, searches
from hypothesis import given
from hypothesis import strategies as st

from outthink.backends.toy import scripted, toy
from outthink.core.errors import BadInput
from outthink.core.types import Sampling
from outthink.strategy import AStar, Beam, Dvts, Lookahead, Rebase, Tot
from outthink.strategy._search import allot, softmax

__all__ = ["searches"]
FIRST = ["a\n", "b\n"]
SECOND = {x: [f"{x}\nc\n", f"{x}\nd\n"] for x in "ab"}
LAST = {text[:-1]: [text[:-1] + "x", text[:-1] + "y"] for text in LEAVES}


def best_of(texts: list[str]) -> str:
    return max(texts, key=lambda text: VALUES[text])


# ---------------------------------------------------------------------------------------------------- beam


@pytest.mark.parametrize(
    ("width", "batches", "answer"),
    [
        (1, [FIRST, SECOND["a"], LAST["a\nc\n"]], "a\nc\ny"),
        (2, [FIRST, SECOND["a"] + SECOND["b"], LAST["a\nc\n"] + LAST["b\nc\n"]], "b\nc\nx"),
        (3, [FIRST, SECOND["a"] + SECOND["b"], LAST["a\nc\n"] + LAST["a\nd\n"] + LAST["b\nc\n"]], "a\nd\nx"),
    ],
)
def test_beam_expands_the_best_of_each_level(width: int, batches: list[list[str]], answer: str) -> None:
    verifier = Told()
    found = run(Beam(verifier, width=width, expand=MANY))
    assert verifier.log == batches
    assert (found.text, found.score, found.finish) == (answer, VALUES[answer], "eos")


def test_beam_with_room_for_everything_is_exhaustive_search() -> None:
    found = run(Beam(Told(), width=8, expand=MANY))
    assert sorted(a.text for a in (found, *found.others)) == sorted(LEAVES)
    assert found.text == best_of(LEAVES)
    scores = [a.score for a in (found, *found.others)]
    assert scores == sorted(scores, reverse=True)


UNEVEN = {
    "Q": {"a": 0.5, "b": 0.5},
    "a": {"\n": 1.0},
    "b": {".": 1.0},
    "a\n": {"c": 0.5, "d": 0.5},
    "c": {".": 1.0},
    "d": {".": 1.0},
}


def uneven() -> Any:
    return toy(scripted(UNEVEN, VOCAB), VOCAB)


def test_what_ended_stays_in_the_beam_and_is_judged_once() -> None:
    """b ends at once and is better than what follows a: it keeps its place, and nothing is written on it."""
    verifier = Told({"a\n": 0.9, "b": 0.8, "a\nc": 0.5, "a\nd": 0.4})
    found = run(Beam(verifier, width=2, expand=MANY), backend=uneven)
    assert verifier.log == [["a\n", "b"], ["a\nc", "a\nd"]]
    assert [a.text for a in (found, *found.others)] == ["b", "a\nc", "a\nd"]


def test_what_ended_takes_a_place_in_the_beam() -> None:
    """b ends at once and stays the best: of two places, one is left for what follows a."""
    verifier = Told(VALUES | {"b": 0.95})
    found = run(
        Beam(verifier, width=2, expand=MANY),
        backend=lambda: toy(scripted(TABLE | {"b": {".": 1.0}}, VOCAB), VOCAB),
    )
    assert verifier.log == [["a\n", "b"], SECOND["a"], LAST["a\nc\n"]]
    assert found.text == "b"


def test_what_ended_leaves_its_samples_to_the_others(searches: list[Any]) -> None:
    """After b has ended in a beam of two, the one node that is left gets all of a round's samples."""
    for width, expand in ((2, MANY), (3, 9)):
        values = {"a\n": 0.9, "b": 0.8, "a\nc": 0.5, "a\nd": 0.4}
        run(Beam(Told(values), width=width, expand=expand), backend=uneven)
        a, _ = sorted(searches.pop().root.children, key=lambda node: node.text)
        assert a.text == "a\n" and sum(child.count for child in a.children) == width * expand


def test_the_answer_is_the_best_that_ever_ended_also_outside_the_beam() -> None:
    verifier = Told({"a\n": 0.9, "b": 0.8, "a\nc": 0.5, "a\nd": 0.4})
    assert run(Beam(verifier, width=1, expand=MANY), backend=uneven).text == "b"


def test_equal_texts_below_one_parent_are_one(searches: list[Any]) -> None:
    verifier = Told()
    run(Beam(verifier, width=1, expand=MANY), seed=1)
    assert all(len(set(batch)) == len(batch) for batch in verifier.log)
    assert sum(child.count for child in searches[0].root.children) == MANY


def test_equal_scores_go_by_branch_path(searches: list[Any]) -> None:
    """The beam keeps the child that was forked first, whichever that is."""
    kept = set()
    for seed in range(8):
        run(Beam(Told(dict.fromkeys(VALUES, 0.5)), width=1, expand=MANY), seed=seed)
        root = searches.pop().root
        grown = next(child for child in root.children if child.children)
        assert grown.branch.path == min(child.branch.path for child in root.children)
        kept.add(grown.text)
    assert kept == {"a\n", "b\n"}


# ------------------------------------------------------------------------------------------ dvts, lookahead


def test_dvts_keeps_the_best_of_each_tree_alone() -> None:
    verifier = Told()
    found = run(Dvts(verifier, trees=2, expand=MANY))
    assert [sorted(set(batch)) for batch in verifier.log] == [FIRST, SECOND["a"], LAST["a\nc\n"]]
    assert [len(batch) for batch in verifier.log] == [2 * MANY] * 3
    assert [a.text for a in (found, *found.others)] == ["a\nc\ny"] * 2


def test_dvts_trees_do_not_see_one_another(searches: list[Any]) -> None:
    """With one child a round every tree is one sample, however badly it scores."""
    for seed in range(6):
        found = run(Dvts(Told(), trees=5, expand=1), seed=seed)
        assert len({a.text for a in (found, *found.others)}) > 1
        assert found.text == best_of([a.text for a in (found, *found.others)])
        assert len(found.others) == 4


def test_dvts_votes_with_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three bad samples of one answer lose to a good one, and beat it where it is not much better."""
    monkeypatch.setattr("outthink.strategy._steps.final_answer", whole)
    for seed in range(6):
        found = run(Dvts(Told(), trees=6, expand=1, select="vote"), seed=seed)
        weights: dict[str, float] = {}
        for a in (found, *found.others):
            weights[a.text] = weights.get(a.text, 0.0) + VALUES[a.text]
        assert weights[found.text] == max(weights.values())
        assert found.score == pytest.approx(weights[found.text] / sum(weights.values()))


def whole(text: str) -> Any:
    from outthink.text.extract import Extraction

    return Extraction(text or None, "the whole text")


@pytest.mark.parametrize(
    ("k", "first", "answer"),
    [
        (1, {"a\nc\n": 0.4, "b\nc\n": 0.9}, "b\nc\nx"),  # b leads to 0.9 where a leads to 0.4
        (2, {"a\nc\nx": 0.1, "b\nc\nx": 0.8}, "b\nc\nx"),
        (9, {"a\nc\nx": 0.1, "b\nc\nx": 0.8}, "b\nc\nx"),
    ],
)
def test_lookahead_judges_where_a_step_leads_greedily(k: int, first: dict[str, float], answer: str) -> None:
    verifier = Told()
    found = run(Lookahead(verifier, width=1, expand=MANY, k=k))
    assert verifier.log[0] == sorted(first)
    assert found.text == answer
    assert run(Beam(Told(), width=1, expand=MANY)).text == "a\nc\ny"  # without looking ahead


def test_lookahead_of_nothing_is_beam_search() -> None:
    for seed in range(4):
        ahead = run(Lookahead(Told(), width=2, expand=3, k=0), seed=seed)
        plain = run(Beam(Told(), width=2, expand=3), seed=seed)
        assert (ahead.text, ahead.score, ahead.receipt.logical) == (
            plain.text,
            plain.score,
            plain.receipt.logical,
        )


def test_what_ends_while_looking_ahead_is_an_answer() -> None:
    """a/d/x is worth 1.0, but a/d is never kept: only looking ahead from it finds it."""
    found = run(Lookahead(Told(VALUES | {"a\nd\nx": 5.0}), width=2, expand=MANY, k=1))
    assert found.text == "a\nd\nx"


# -------------------------------------------------------------------------------------------------- rebase


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12).filter(lambda w: sum(w) > 0.01), st.integers(0, 50))
def test_allotments_are_whole_and_add_up(weights: list[float], n: int) -> None:
    shares = [w / math.fsum(weights) for w in weights]
    counts = allot(shares, n)
    assert sum(counts) == n
    assert all(
        math.floor(n * s - 1e-9) <= c <= math.ceil(n * s + 1e-9) for s, c in zip(shares, counts, strict=True)
    )


def test_allotments_by_hand() -> None:
    assert allot([0.5, 0.3, 0.2], 7) == [4, 2, 1]  # 3.5, 2.1, 1.4: one is left, and goes to the .5
    assert allot([0.25] * 4, 6) == [2, 2, 1, 1]  # equal remainders: the earlier ones
    assert allot([1 / 3] * 3, 3) == [1, 1, 1]
    assert allot([0.1, 0.9], 1) == [0, 1]


def test_shares_by_hand_and_of_extreme_scores() -> None:
    assert softmax([-2000.0, -2000.0 + math.log(3)], 1.0) == pytest.approx([0.25, 0.75])
    assert softmax([0.0, 0.5], 0.5) == pytest.approx([1 / (1 + math.e), math.e / (1 + math.e)])
    assert softmax([-math.inf] * 2, 1.0) == [0.5, 0.5]
    assert softmax([math.inf, 3.0, math.inf], 1.0) == [0.5, 0.0, 0.5]
    assert softmax([-math.inf, 0.0], 0.1) == [0.0, 1.0]


def test_rebase_gives_children_by_softmax_of_rewards(searches: list[Any]) -> None:
    """With 12 samples at temperature 0.5, each round's counts are those of the formula, exactly."""
    verifier = Told()
    found = run(Rebase(verifier, n=12, temperature=0.5, select="best"))
    [search] = searches
    level = [search.root]
    assert len(search.root.children) == 12
    while level := [child for node in level for child in node.children if not child.ended]:
        shares = softmax([node.score for node in level], 0.5)
        assert [len(node.children) for node in level] == allot(shares, 12)
    assert len(found.others) == 11  # n solutions end, whatever their rewards
    assert [len(batch) for batch in verifier.log] == [12, 12, 12]


def test_a_solution_that_ends_takes_one_sample_with_it(searches: list[Any]) -> None:
    verifier = Told({"a\n": 0.9, "b": 0.8, "a\nc": 0.5, "a\nd": 0.4})
    run(Rebase(verifier, n=10, select="best"), backend=uneven, seed=3)
    first, second = verifier.log
    ended = first.count("b")
    assert 0 < ended < 10 and len(second) == 10 - ended


def test_rebase_with_equal_rewards_gives_equal_shares(searches: list[Any]) -> None:
    """Nobody gains by waiting: rewards as large as -2000 or 2000 give what 0 gives."""
    texts = {
        tuple(
            sorted(
                (n.text, len(n.children))
                for n in nodes_of(searches, Rebase(Told(dict.fromkeys(VALUES, v)), n=9, select="best"))
            )
        )
        for v in (-2000.0, 0.0, 2000.0)
    }
    assert len(texts) == 1


def nodes_of(searches: list[Any], strategy: Any) -> list[Any]:
    run(strategy)
    return list(nodes(searches.pop().root))


def test_a_vote_needs_weights() -> None:
    with pytest.raises(BadInput, match="select='best'"):
        run(Rebase(Told(dict.fromkeys(VALUES, -1.0)), n=4))


# -------------------------------------------------------------------------------------------------- a_star


def test_a_star_expands_the_least_cost_first() -> None:
    """f by hand: a .4+.4=.8, b .5+.5=1; then ac .6+.6=1.2, ad .7+.7=1.4: b; bc .5+.1=.6; bcx .5+.1+.2=.8."""
    verifier = Told()
    found = run(AStar(verifier, expand=MANY))
    assert verifier.log == [FIRST, SECOND["a"], SECOND["b"], LAST["b\nc\n"]]
    assert (found.text, found.score) == ("b\nc\nx", 0.8)


def path_cost(text: str, values: dict[str, float], weight_end: float = 1.0) -> float:
    lines = text.split("\n")
    prefixes = ["\n".join(lines[: i + 1]) + ("\n" if i + 1 < len(lines) else "") for i in range(len(lines))]
    rewards = [1.0, *(values[p] for p in prefixes)]
    lost = sum(max(0.0, a - b) for a, b in zip(rewards, rewards[1:], strict=False))
    return lost + weight_end * (1 - rewards[-1])


FALLING = {
    text: math.prod(
        {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.95, "x": 0.9, "y": 0.6}[c] for c in text if c != "\n"
    )
    for text in VALUES
}


@pytest.mark.parametrize(("values", "weight"), [(FALLING, 1.0), (FALLING, 0.0), (VALUES, 0.0)])
def test_a_star_with_an_admissible_heuristic_finds_the_least_cost(
    values: dict[str, float], weight: float
) -> None:
    found = run(AStar(Told(values), expand=MANY, weight=weight))
    best = min(LEAVES, key=lambda text: path_cost(text, values))
    assert found.text == best


def test_the_answer_of_a_star_has_the_least_cost_not_the_best_reward() -> None:
    """acx costs .1 + .3 + .4 = .8; bcx ends with .7, but b lost .55 at once: .85. Both have ended by then."""
    values = dict.fromkeys(VALUES, 0.0) | {"a\n": 0.9, "a\nc\n": 0.9, "a\nc\nx": 0.6}
    values |= {"b\n": 0.45, "b\nc\n": 0.45, "b\nc\nx": 0.7}
    found = run(AStar(Told(values), expand=MANY, weight=0.0))
    assert found.text == "a\nc\nx"
    assert "b\nc\nx" in [other.text for other in found.others]


def test_an_admissible_heuristic_saves_expansions() -> None:
    counts = []
    for weight in (0.0, 1.0):
        verifier = Told(FALLING)
        run(AStar(verifier, expand=MANY, weight=weight))
        counts.append(len(verifier.log))
    assert counts[1] < counts[0]


def test_a_star_takes_what_a_cap_cut_only_where_nothing_is_complete() -> None:
    """a and its line break fill the cap of 2, and cost less than b, which is complete."""
    verifier = Told({"a\n": 0.9, "b": 0.1})
    sampling = Sampling(temperature=1.0, max_tokens=2)
    assert run(AStar(verifier, expand=MANY), backend=uneven, sampling=sampling).text == "b"
    assert run(AStar(Told(), expand=MANY), sampling=sampling).text == "a\n"


def test_a_star_out_of_expansions_completes_the_best_open_node() -> None:
    verifier = Told()
    found = run(AStar(verifier, expand=MANY, expansions=1))
    assert verifier.log[0] == FIRST and found.text.startswith("a\n") and found.text in LEAVES


RARE = TABLE | {"Q": {"a": 0.98, "b": 0.02}}
GOOD = {text: 1.0 if text[0] == "b" else VALUES[text] / 2 for text in VALUES}


def rare() -> Any:
    return toy(scripted(RARE, VOCAB), VOCAB)


def test_a_star_goes_on_until_a_solution_is_good_enough() -> None:
    """Only what begins with b is right, and the model seldom writes it: the first solution is wrong."""
    for seed in range(3):
        first = run(AStar(Told(GOOD), expand=2), backend=rare, seed=seed)
        found = run(AStar(Told(GOOD), expand=2, expansions=1000, enough=1.0), backend=rare, seed=seed)
        assert first.text[0] == "a" and (found.text[0], found.score) == ("b", 1.0)


def test_a_star_that_finds_nothing_good_enough_answers_with_the_best() -> None:
    """All is found in time, each judged once, and the best reward stands, though others cost less."""
    assert run(AStar(Told(), expand=MANY, expansions=40, enough=1.0), seed=1).text == "a\nd\nx"
    worse = Told({text: value / 2 for text, value in VALUES.items()})
    assert run(AStar(worse, expand=MANY, expansions=40, enough=1.0)).text == "a\nd\nx"
    judged = [text for batch in worse.log for text in batch]
    assert sorted(judged) == sorted(VALUES)


@pytest.mark.parametrize("expansions", [1, 3, 7])
def test_going_on_is_bounded_by_the_expansions(searches: list[Any], expansions: int) -> None:
    run(AStar(Told(GOOD), expand=2, expansions=expansions, enough=1.0), backend=rare)
    assert searches.pop().rounds == expansions


def test_at_temperature_0_a_search_is_not_repeated(searches: list[Any]) -> None:
    greedy = Sampling(temperature=0.0)
    found = run(AStar(Told(GOOD), expand=2, expansions=1000, enough=1.0), sampling=greedy)
    assert found.text[0] == "a" and searches.pop().rounds == 3


def test_a_star_refuses_rewards_that_are_none() -> None:
    with pytest.raises(BadInput, match="rewards from 0 to 1"):
        run(AStar(Told(dict.fromkeys(VALUES, 2.0))))


# ----------------------------------------------------------------------------------------------------- tot


def test_tot_breadth_first_prunes_below_the_threshold() -> None:
    verifier = Told()
    found = run(Tot(verifier, width=5, expand=MANY, threshold=0.35))
    assert verifier.log == [FIRST, SECOND["a"] + SECOND["b"], LAST["a\nc\n"] + LAST["b\nc\n"]]
    assert found.text == "b\nc\nx"


def test_tot_breadth_first_without_a_threshold_is_beam_search() -> None:
    tot, beam = run(Tot(Told(), width=2, expand=4)), run(Beam(Told(), width=2, expand=4))
    assert (tot.text, tot.score, tot.receipt.logical) == (beam.text, beam.score, beam.receipt.logical)


def test_tot_depth_first_goes_back_to_the_next_best() -> None:
    """a, then ac (.4); its leaves are below .25; ad is not (.3): adx is 1.0, the first that ends."""
    verifier = Told()
    found = run(Tot(verifier, order="depth", expand=MANY, threshold=0.25))
    assert verifier.log == [FIRST, SECOND["a"], LAST["a\nc\n"], LAST["a\nd\n"]]
    assert found.text == "a\nd\nx"


def test_tot_depth_first_stops_at_so_many_solutions() -> None:
    verifier = Told()
    run(Tot(verifier, order="depth", expand=MANY, solutions=3))
    assert verifier.log == [FIRST, SECOND["a"], LAST["a\nc\n"], LAST["a\nd\n"]]


@pytest.mark.parametrize("order", ["breadth", "depth"])
def test_tot_with_nothing_above_the_threshold_still_answers(order: str) -> None:
    found = run(Tot(Told(), order=order, expand=MANY, threshold=7.0))
    assert found.text in LEAVES and found.text.startswith("a\n")


# ------------------------------------------------------------------------------------------- what all share


def test_the_delimiter_may_be_any_text() -> None:
    """With the lines' letters as delimiters, steps end there."""
    values = {"a": 0.6, "b": 0.5} | {text: value for text, value in VALUES.items() if text[-1] in "xy"}
    values |= {f"a{rest}": 0.5 for rest in ("\nc\nx", "\nc\ny", "\nd\nx", "\nd\ny")}
    verifier = Told(values)
    run(Beam(verifier, width=1, expand=MANY, step="a"))
    assert verifier.log[0][0] == "a"


def test_blank_lines_belong_to_the_next_step() -> None:
    table = {
        "Q": {"\n": 1.0},
        "\n": {" ": 1.0},
        " ": {"\n": 0.5, "a": 0.5},
        "a": {".": 1.0},
        " \n": {"a": 1.0},
    }
    seen = Told({"\n a": 1.0, "\n \na": 0.5})
    run(Beam(seen, width=1, expand=MANY), backend=lambda: toy(scripted(table, VOCAB), VOCAB))
    assert seen.log == [["\n \na", "\n a"]]


@pytest.mark.parametrize(("stop", "text"), [("\nd", "a"), ("d", "a\n")])
def test_the_runs_own_stop_ends_a_solution_and_is_cut_off(stop: str, text: str) -> None:
    """Also where it begins in one step and ends in the next."""
    verifier = Told(VALUES | {"a": 0.9, "b": 0.1})
    found = run(
        Beam(verifier, width=1, expand=MANY), sampling=Sampling(temperature=1.0, stop=(stop,), max_tokens=20)
    )
    if text == "a\n":
        assert verifier.log[1] == ["a\n", "a\nc\n"]
    assert (found.finish, found.text) == ("stop", text)


def test_a_step_that_does_not_end_is_cut_and_the_receipt_says_so() -> None:
    values = {text[:i]: 0.5 for text in LEAVES for i in range(1, 6)}
    found = run(Beam(Told(values), width=2, expand=4, step="A", step_tokens=2))
    [note] = found.receipt.degradations
    assert note.what == "steps" and "within 2 tokens" in note.why
    assert found.text in LEAVES


def test_a_task_without_steps_is_sampled_whole_and_the_receipt_says_so() -> None:
    verifier = Told()
    found = run(Beam(verifier, width=2, expand=MANY, step="A"))
    assert verifier.log == [sorted(LEAVES)] and found.text == best_of(LEAVES)
    [note] = found.receipt.degradations
    assert note.what == "steps" and "whole answers" in note.why
    assert not run(Beam(Told(), width=2, expand=4)).receipt.degradations


def test_a_cap_on_tokens_ends_solutions_and_what_is_complete_comes_first() -> None:
    """b ends in two tokens; a and a line break fill the cap of two, and score higher, but are cut."""
    verifier = Told({"a\n": 0.9, "b": 0.1})
    found = run(
        Beam(verifier, width=2, expand=MANY), backend=uneven, sampling=Sampling(temperature=1.0, max_tokens=2)
    )
    assert [(a.text, a.finish) for a in (found, *found.others)] == [("b", "eos"), ("a\n", "length")]


def test_nothing_complete_is_still_an_answer() -> None:
    found = run(Beam(Told(), width=2, expand=MANY), sampling=Sampling(temperature=1.0, max_tokens=2))
    assert (found.text, found.finish, found.score) == ("a\n", "length", 0.6)
