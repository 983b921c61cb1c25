"""Rivals take turns at the same work, and a round counts with the least time where several are alike."""

from __future__ import annotations

import pytest

from benchmarks.contest import Score, contest


class Writer:
    """A rival that notes what it was given, in which turn of the whole contest."""

    def __init__(self, name: str, log: list[tuple[int, str]]) -> None:
        self.name, self.log = name, log

    def write(self, work: int) -> int:
        self.log.append((work, self.name))
        return 10 + work


@pytest.mark.parametrize("is_tidy", [False, True])
def test_every_round_is_the_same_work_for_all_in_another_order(is_tidy: bool) -> None:
    log: list[tuple[int, str]] = []
    scores = contest([Writer(name, log) for name in "abc"], 6, lambda turn: turn, is_tidy=is_tidy)
    rounds = [[name for work, name in log if work == turn] for turn in range(7)]
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert len({names[0] for names in rounds}) == 3 and len(set(map(tuple, rounds))) > 2
    assert scores["a"].tokens == [11, 12, 13, 14, 15, 16], "the first round is not counted"
    assert all(len(score.seconds) == len(score.busy) == 6 for score in scores.values())


def test_the_least_of_each_round_counts() -> None:
    one, other = Score([5, 7], [1.0, 4.0], [0.9, 3.0]), Score([5, 7], [2.0, 3.0], [0.5, 3.5])
    assert Score.least([one, other]) == Score([5, 7], [1.0, 3.0], [0.5, 3.0])
    assert Score.least([one]) == one
