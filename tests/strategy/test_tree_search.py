"""Monte Carlo tree searches: visits and values known by hand, formulas, and what a walk is drawn from."""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import replace
from typing import Any

import pytest
from golden import LEAVES, MANY, VALUES, Told, nodes, run, searches

from outthink.core.errors import BadInput
from outthink.core.needs import needs_of
from outthink.core.types import Can, Sampling
from outthink.strategy import AbMcts, Mcts
from outthink.strategy._steps import Node
from outthink.strategy.ab_mcts import POSTERIORS, Posterior, beta, gaussian
from outthink.strategy.mcts import backup, is_open, puct, uct

__all__ = ["searches"]
TOP, BELOW_A, BELOW_B = ["a\n", "b\n"], ["a\nc\n", "a\nd\n"], ["b\nc\n", "b\nd\n"]


def pair(text: str) -> list[str]:
    return [text + "x", text + "y"]


def table(root: Node) -> dict[str, tuple[int, float]]:
    return {node.text: (node.visits, round(node.total, 6)) for node in nodes(root)}


class Place:
    """As much of a branch as a node needs here."""

    def __init__(self, *path: int) -> None:
        self.path = path


def stub(visits: int, total: float, logprob: float = 0.0, place: int = 0) -> Node:
    return Node(Place(place), visits=visits, total=total, logprob=logprob)  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------- mcts


def test_uct_by_hand() -> None:
    assert uct(stub(10, 0.0), stub(4, 2.0), 2.0) == pytest.approx(0.5 + 2 * math.sqrt(math.log(10) / 4))
    assert uct(stub(10, 0.0), stub(4, 2.0), 0.0) == 0.5


def test_puct_by_hand() -> None:
    parent, children = stub(9, 0.0), [stub(2, 1.0, math.log(0.3)), stub(5, 4.0, math.log(0.1))]
    parent.children = children
    assert puct(parent, children[0], 2.0) == pytest.approx(0.5 + 2 * 0.75 * 3 / 3)
    assert puct(parent, children[1], 2.0) == pytest.approx(0.8 + 2 * 0.25 * 3 / 6)


def test_a_backup_reaches_the_root() -> None:
    root, middle, leaf = stub(0, 0.0), stub(1, 0.5), stub(0, 0.0)
    middle.parent, leaf.parent = root, middle
    backup(leaf, 0.25)
    backup(leaf, 0.5)
    assert [(n.visits, n.total) for n in (root, middle, leaf)] == [(2, 0.75), (3, 1.25), (2, 0.75)]


def test_uct_expands_and_counts_as_by_hand(searches: list[Any]) -> None:
    """c=1. 1: root. 2: a .6 > b .5, both seen once. 3: a 1.3/3 + sqrt(ln4/3) = 1.11, b .5 + sqrt(ln4)
    = 1.68. 4: both three times: a .43, b 1.6/3 = .53: b, there bc. 5: a .43 + sqrt(ln8/3) = 1.27, b 3.1/5 +
    sqrt(ln8/5) = 1.26: a, there ac. 6: a 1.6/5 = .32, b .62: b, of which only bd is open. 7: a, there ad.
    """
    verifier = Told()
    found = run(Mcts(verifier, simulations=5, expand=MANY))
    assert verifier.log == [TOP, BELOW_A, BELOW_B, pair("b\nc\n"), pair("a\nc\n")]
    assert table(searches[0].root) == {
        "": (10, 4.7),
        "a\n": (5, 1.6),
        "b\n": (5, 3.1),
        "a\nc\n": (3, 0.7),
        "a\nd\n": (1, 0.3),
        "b\nc\n": (3, 2.4),
        "b\nd\n": (1, 0.2),
        "a\nc\nx": (1, 0.1),
        "a\nc\ny": (1, 0.2),
        "b\nc\nx": (1, 0.8),
        "b\nc\ny": (1, 0.7),
    }
    assert (found.text, found.score) == ("b\nc\nx", 0.8)


@pytest.mark.parametrize(
    ("strategy", "order"),
    [
        (Mcts(Told(), c=0.0), "b\nc\n b\nd\n a\nc\n a\nd\n"),  # by mean: b, .53 then .62, before a, .43
        (Mcts(Told(), c=1.0), "b\nc\n a\nc\n b\nd\n a\nd\n"),
        (Mcts(Told(), c=1.0, rule="puct"), "b\nc\n b\nd\n a\nc\n a\nd\n"),
    ],
    ids=repr,
)
def test_the_order_of_expansion(strategy: Any, order: str) -> None:
    verifier = Told()
    run(replace(strategy, verifier=verifier, expand=MANY))
    texts = [batch[0][:-1] for batch in verifier.log]
    assert texts[3:] == [text + "\n" for text in order.replace("\n ", "|").rstrip("\n").split("|")]


def test_visits_add_up_and_values_are_means_of_what_was_judged(searches: list[Any]) -> None:
    for rule in ("uct", "puct"):
        for seed in range(3):
            run(Mcts(Told(), simulations=5, expand=3, rule=rule), seed=seed)
            root = searches.pop().root
            for node in nodes(root):
                own = 0 if node is root else 1
                below = [n for n in nodes(node) if n is not root]
                assert node.visits == own + sum(child.visits for child in node.children) == len(below)
                assert node.total == pytest.approx(sum(n.score for n in below))


def test_an_ended_solution_is_not_visited_again_and_votes_once(
    searches: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is open to begin with, and 20 simulations are more than the tree has nodes: each leaf once."""
    monkeypatch.setattr("outthink.strategy._steps.final_answer", lambda text: Marked(text[-1]))
    verifier = Told()
    found = run(Mcts(verifier, simulations=20, expand=MANY, select="vote"))
    judged = [text for batch in verifier.log for text in batch]
    assert sorted(judged) == sorted(VALUES)
    assert all(node.visits == 1 for node in nodes(searches[0].root) if node.ended)
    weights = {x: sum(VALUES[text] for text in LEAVES if text[-1] == x) for x in "xy"}
    assert found.final == max(weights, key=lambda x: weights[x]) == "x"
    assert found.score == pytest.approx(weights["x"] / sum(weights.values()))


class Marked:
    """A final answer, for texts that have no mark."""

    def __init__(self, value: str) -> None:
        self.value = value


def test_priors_need_log_probabilities() -> None:
    assert needs_of(Mcts(Told(), rule="puct")) == Can.GENERATE | Can.LOGPROBS
    assert needs_of(Mcts(Told())) == Can.GENERATE


def test_what_was_expanded_is_expanded_again_when_nothing_is_open(searches: list[Any]) -> None:
    """Two samples a node leave most of the tree out; the simulations that are left find all of it."""
    for rule in ("uct", "puct"):
        run(Mcts(Told(), simulations=300, expand=2, rule=rule), seed=3)
        root = searches.pop().root
        texts = [node.text for node in nodes(root) if node is not root]
        assert sorted(texts) == sorted(VALUES)
        for node in nodes(root):
            below = [n for n in nodes(node) if n is not root]
            assert node.visits == len(below) and node.total == pytest.approx(sum(n.score for n in below))
            assert node.ended or node.grown >= 2


def test_a_search_that_can_only_repeat_itself_ends(searches: list[Any]) -> None:
    run(Mcts(Told(), simulations=1000, expand=2), sampling=Sampling(temperature=0.0))
    assert searches.pop().rounds == 3  # steps


def _opened(root: Node, taken: list[Node], often: int) -> set[Node]:
    """By the book: those that can be expanded, and all above them."""
    found: set[Node] = set()
    for node in nodes(root):
        at: Node | None = node
        above = []
        while at is not None:
            above.append(at)
            at = at.parent
        if node.grown < often and node not in taken and not any(one.ended for one in above):
            found.update(above)
    return found


def test_what_is_open_is_so_by_the_book() -> None:
    """In trees that grow, end here and there, and are asked again and again, whole and in waves."""
    for seed in range(40):
        rng = random.Random(seed)
        root = stub(0, 0.0)
        known = [root]
        for step in range(60):
            often = 1 + step // 40
            taken = rng.sample(known, rng.choice([0, 0, 1, min(3, len(known))]))
            opened = _opened(root, taken, often)
            assert [is_open(node, taken, often) for node in known] == [node in opened for node in known]
            leaves = [node for node in known if node.grown < often and not node.ended]
            for node in rng.sample(leaves, min(2, len(leaves))):
                node.grown += 1
                for _ in range(rng.randrange(3)):
                    child = stub(0, 0.0, place=len(known))
                    child.parent, child.ended = node, rng.choice(["", "", "eos"])
                    node.children.append(child)
                    known.append(child)


def test_a_wave_takes_different_leaves() -> None:
    verifier = Told()
    run(Mcts(verifier, simulations=5, expand=MANY, wave=2))
    assert verifier.log == [TOP, BELOW_A + BELOW_B, pair("b\nc\n") + pair("b\nd\n")]


def test_rollouts_judge_whole_solutions_only(searches: list[Any]) -> None:
    verifier = Told({text: VALUES[text] for text in LEAVES})
    found = run(Mcts(verifier, simulations=3, expand=4, rollout=True))
    assert all(text in LEAVES for batch in verifier.log for text in batch)
    assert found.text == max(
        (text for batch in verifier.log for text in batch), key=lambda text: VALUES[text]
    )


def test_equal_rollouts_vote_once(searches: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outthink.strategy._steps.final_answer", lambda text: Marked(text[-1:]))
    found = run(Mcts(Told(), simulations=3, expand=6, rollout=True, select="vote"))
    judged = [node.text for node in searches[0].ended]
    assert len(judged) > len(set(judged))
    weights = {x: sum(VALUES[text] for text in set(judged) if text[-1] == x) for x in "xy"}
    assert found.final == max(weights, key=lambda x: weights[x])
    assert found.score == pytest.approx(max(weights.values()) / sum(weights.values()))


# ------------------------------------------------------------------------------------------------- ab_mcts


def test_trees_may_be_thousands_of_steps_deep() -> None:
    root = at = stub(0, 0.0)
    for i in range(3000):
        child = stub(0, 0.0, place=i)
        child.parent, child.score, child.grown, at.grown = at, 0.5, 0, 1
        at.children, at = [child], child
    assert is_open(root, [], 1) and not is_open(root, [at], 1)
    below: dict[Node, list[float]] = {}
    AbMcts(Told())._view(root, below)
    assert below[root.children[0]] == [0.5] * 2999 and below[at] == []


def test_without_children_a_walk_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(AbMcts(Told()).walk(root := stub(0, 0.0), random.Random(0))) == [root]


@pytest.mark.parametrize(("seen", "deeper"), [(0.9, True), (0.1, False)])
def test_a_walk_weighs_children_against_what_is_below_them(
    monkeypatch: pytest.MonkeyPatch, seen: float, deeper: bool
) -> None:
    """Draws replaced by means: wider is the mean of the children, each as often as it was written."""
    asked: list[list[float]] = []

    def mean(scores: list[float]) -> Posterior:
        asked.append(list(scores))
        return lambda rng: statistics.fmean(scores) if scores else 0.5

    monkeypatch.setitem(POSTERIORS, "beta", mean)
    root, a, b, below, done = (stub(0, 0.0, place=i) for i in range(5))
    a.score, b.score, below.score, done.score = 0.4, 0.5, seen, 1.0
    done.ended, a.count = "eos", 3
    root.children, a.children = [a, b, done], [below]
    walk = list(AbMcts(Told()).walk(root, random.Random(0)))
    assert asked[:2] == [[0.4, 0.4, 0.4, 0.5, 1.0], [seen]]
    assert asked[2:4] == [[0.4, 0.4, 0.4, seen], [0.5]]  # an ended child is no way on
    if deeper:
        assert asked[4:] == [[0.9], [], [0.9]] and walk == [root, a]  # .9 against the prior's .5: wider there
    else:
        assert walk == [root] and len(asked) == 4


def test_posteriors_have_the_moments_of_their_formula() -> None:
    rng, scores = random.Random(1), [0.2, 0.9, 0.7]
    draws = [beta(scores)(rng) for _ in range(4000)]
    a, b = 0.5 + 1.8, 0.5 + 1.2
    assert statistics.fmean(draws) == pytest.approx(a / (a + b), abs=0.015)
    assert statistics.variance(draws) == pytest.approx(a * b / ((a + b) ** 2 * (a + b + 1)), rel=0.1)
    draws = [gaussian(scores * 10)(rng) for _ in range(4000)]
    n, mean = 30, 0.6
    spread = sum((s - mean) ** 2 for s in scores * 10)
    scale = (0.1 + spread + n * mean**2 / (n + 1)) / 2
    assert statistics.fmean(draws) == pytest.approx(n * mean / (n + 1), abs=0.01)
    assert statistics.variance(draws) == pytest.approx(scale / ((1 + n) / 2 - 1) / (n + 1), rel=0.12)
    assert gaussian([])(rng) != gaussian([])(rng)


def test_thompson_sampling_goes_deeper_where_depth_pays(searches: list[Any]) -> None:
    """Below b all is worth 1, below a nothing: most of 60 steps are written there; and the other way
    round."""
    for good, bad in ("ab", "ba"):
        values = {text: float(text[0] == good and len(text) > 2) for text in VALUES}
        run(AbMcts(Told(values), simulations=60, wave=1, rollout=False))
        spent = {child.text[0]: sum(n.count for n in nodes(child)) for child in searches.pop().root.children}
        assert spent[good] > 1.5 * spent.get(bad, 0)


def test_every_simulation_writes_a_solution_and_judges_that(searches: list[Any]) -> None:
    for wave in (1, 4, 64):
        verifier = Told({text: VALUES[text] for text in LEAVES})
        run(AbMcts(verifier, simulations=10, wave=wave))
        search = searches.pop()
        assert sum(map(len, verifier.log)) == len(search.ended) == 10
        below = [node for node in nodes(search.root) if node is not search.root]
        assert len(below) == 10 and all(node.score in set(map(VALUES.get, LEAVES)) for node in below)


def test_a_search_that_only_widens_is_repeated_sampling(
    searches: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(POSTERIORS, "beta", lambda scores: lambda rng: 0.5)  # a draw is never above another
    found = run(AbMcts(Told(), simulations=12))
    root = searches[0].root
    assert len(root.children) == 12 and not any(child.children for child in root.children)
    ended = [node.text for node in searches[0].ended]
    assert len(ended) == 12 and found.text == max(ended, key=lambda text: VALUES[text])


def test_every_simulation_writes_one_step(searches: list[Any]) -> None:
    for wave in (1, 4, 64):
        run(AbMcts(Told(), simulations=10, wave=wave, rollout=False))
        assert sum(node.count for node in nodes(searches.pop().root)) - 1 >= 10


def test_ab_mcts_refuses_scores_that_beta_cannot_count() -> None:
    with pytest.raises(BadInput, match="posterior='gaussian'"):
        run(AbMcts(Told(dict.fromkeys(VALUES, -0.5))))
    assert run(AbMcts(Told(dict.fromkeys(VALUES, -0.5)), posterior="gaussian")).text in LEAVES
