"""What each family counts as right, on problems written out by hand."""

from __future__ import annotations

from outthink.bench.tasks._stories import GIVEN, TOTAL, Operation
from outthink.bench.tasks.countdown import Countdown, reachable
from outthink.bench.tasks.paths import Paths
from outthink.bench.tasks.procedures import Procedures, apply
from outthink.bench.tasks.steps import Steps
from outthink.core.problem import Problem, Secret


def game(target: int, *numbers: int) -> Problem:
    """A countdown problem."""
    return Problem("", secret=Secret(data={"numbers": numbers, "target": target}))


def test_countdown_expressions() -> None:
    check, problem = Countdown().check, game(58, 8, 3, 5, 2)
    assert check(problem, "(8 * 3 + 5) * 2")
    assert check(problem, " ((8*3)+5) * 2. ")
    assert not check(problem, "29 * 2")  # 29 is not given
    assert not check(problem, "(8 * 3 + 5) * 2 + 2 - 2")  # 2 used three times
    assert not check(problem, "58")
    assert not check(game(4, 8, 4), "4")  # the 8 is not used
    assert check(game(4, 8, 4), "8 - 4")
    assert check(game(7, 10, 2, 1), "10 - 2 - 1")  # left to right
    assert not check(game(9, 10, 2, 1), "10 - 2 - 1")
    assert not check(game(1, 2, 4, 2), "2 / 4 * 2")  # a broken result on the way
    assert not check(game(3, 2, 4, 5), "2 - 4 + 5")  # a negative result on the way


def test_countdown_steps_need_a_reachable_target() -> None:
    task, problem = Countdown(), game(58, 8, 3, 5, 2)
    assert task.check_steps(problem, ["3 * 8 = 24 left 5 24 2", "5 + 24 = 29 left 29 2"]) == [True, True]
    assert task.check_steps(problem, ["8 - 8 = 0 left 3 5 2"]) == [False]  # only one 8
    assert task.check_steps(problem, ["8 + 3 = 12 left 12 5 2"]) == [False]
    assert task.check_steps(problem, ["8 + 3 = 11 left 11 5"]) == [False]  # the 2 is forgotten
    lost = task.check_steps(
        game(24, 6, 4, 1), ["6 + 4 = 10 left 10 1", "10 + 1 = 11 left 11", "A: 6 * 4 * 1"]
    )
    assert lost == [False, False, True]


def test_reachable() -> None:
    assert reachable((1, 5, 5, 5), 24) is False  # needs a fraction on the way
    assert reachable((3, 3, 8, 8), 24) is False
    assert reachable((1, 2, 3, 4), 24) is True
    assert reachable((5,), 5) is True


def test_paths_any_legal_route() -> None:
    roads = (("a", "b"), ("b", "d"), ("a", "c"), ("c", "d"), ("b", "a"), ("c", "e"))
    problem = Problem("", secret=Secret(data={"roads": roads, "start": "a", "goal": "d"}))
    task = Paths()
    assert task.check(problem, "a b d") and task.check(problem, "a c d.")
    assert not task.check(problem, "a d")
    assert not task.check(problem, "a b a c d")  # a twice
    assert not task.check(problem, "b d")
    assert task.check_steps(problem, ["go a b", "go b a", "go b d"]) == [True, False, True]
    assert task.check_steps(problem, ["go a c", "go c e", "A: a c e"]) == [True, True, False]
    assert task.check_steps(problem, ["go c d", "a b"]) == [False, True]


def test_procedures_operations() -> None:
    items = list("abcd")
    assert apply("reverse", items) == list("dcba")
    assert apply("swap 1 3", items) == list("cbad")
    assert apply("rotate left 1", items) == list("bcda")
    assert apply("rotate right 1", items) == list("dabc")
    assert apply("drop 2", items) == list("acd")
    assert apply("double 4", items) == list("abcdd")
    assert apply("insert x at 1", items) == list("xabcd")
    assert apply("insert x at 5", items) == list("abcdx")
    assert apply("replace b by d", items) == list("adcd")
    assert apply("sort", list("dabc")) == items
    assert items == list("abcd")


def test_procedures_lines() -> None:
    data = {"operations": ("reverse", "sort"), "states": (("c", "b", "a"), ("a", "b", "c"))}
    problem = Problem("", secret=Secret(reference="a b c", data=data))
    task = Procedures()
    assert task.check_steps(problem, ["1) reverse: c b a", "2) sort: a b c", "A: a, b, c"]) == [True] * 3
    assert task.check_steps(problem, ["c b a", "sort: a b c", "A: a b"]) == [True, True, False]
    assert task.check_steps(problem, ["2) reverse: c b a", "2) reverse: a b c"]) == [False, False]


def test_steps_order_is_free_where_the_text_leaves_it_free() -> None:
    plan = (
        Operation(3, "*", 4),
        Operation(5, "*", 2),
        Operation(28, "-", 8, TOTAL),
    )
    data = {"plan": plan, "parts": ((12, 0), (10, 1), (6, GIVEN))}
    problem = Problem("", secret=Secret(reference="20", data=data))
    check = Steps().check_steps
    assert (
        check(problem, ["5 * 2 = 10", "4 * 3 = 12", "6 + 10 = 16", "16 + 12 = 28", "28 - 8 = 20"])
        == [True] * 5
    )
    assert check(problem, ["10 + 12 = 22"]) == [False]  # not known yet
    assert check(problem, ["3 * 4 = 12", "12 + 12 = 24"]) == [True, False]  # the same part twice
    assert check(problem, ["3 * 4 = 12", "3 * 4 = 12"]) == [True, False]  # already done
    assert check(problem, ["3 * 4 = 13", "7 + 7 = 14", "A: 20", "A: 21"]) == [False, False, True, False]


def test_steps_labels() -> None:
    problem = Problem(
        "", secret=Secret(reference="8", data={"plan": (Operation(5, "+", 3, GIVEN, "Tom"),), "parts": ()})
    )
    check = Steps().check_steps
    assert (
        check(problem, ["for Tom: 5 + 3 = 8"])
        == check(problem, ["Tom: 3 + 5 = 8"])
        == check(problem, ["3 + 5 = 8"])
        == [True]
    )
    assert check(problem, ["Mia: 5 + 3 = 8"]) == [False]
    assert check(problem, ["8 - 3 = 5"]) == [False]
