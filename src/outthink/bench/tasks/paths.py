"""Find a route from one place to another over one-way roads, past dead ends."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from outthink.bench.tasks._common import LONGEST_LINE, Draft, Draw, answer_of, make, need_level
from outthink.core.problem import Problem

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SIZES = (  # level -> (roads on the route, forks, longest dead end, extra roads between dead ends)
    (2, 1, 1, 0),
    (3, 2, 1, 0),
    (3, 2, 2, 0),
    (4, 2, 2, 0),
    (4, 3, 2, 1),
    (5, 4, 2, 2),
    (6, 5, 3, 3),
    (7, 6, 3, 4),
)
Road = tuple[str, str]


def dead_ends(
    draw: Draw, route: Sequence[str], spare: list[str], forks: int, longest: int
) -> list[list[str]]:
    """Chains of fresh places, each leaving the route before its last place and leading nowhere."""
    chains = []
    for _ in range(forks):
        length = min(draw.between(max(1, longest - 1), longest), len(spare))
        chains.append([draw.pick(route[:-1]), *(spare.pop() for _ in range(length))])
    return chains


def cross_road(draw: Draw, route: Sequence[str], side: Sequence[str]) -> Road:
    """A road between two dead ends or, one time in five, from a dead end back to the route."""
    if draw.chance(0.2):
        return draw.pick(side), draw.pick(route[1:])
    a, b = draw.sample(side, 2)
    return a, b


def draft(draw: Draw, level: int) -> Draft:
    """A route, dead ends that leave it, some roads between the dead ends; roads listed in random order."""
    length, forks, longest, extra = SIZES[level - 1]
    places = draw.shuffled(LETTERS)
    route, spare = places[: length + 1], places[length + 1 :]
    chains = dead_ends(draw, route, spare, forks, longest)
    roads = {(a, b) for chain in (route, *chains) for a, b in zip(chain, chain[1:], strict=False)}
    side = [place for chain in chains for place in chain[1:]]
    roads |= {cross_road(draw, route, side) for _ in range(extra)}
    listed = draw.shuffled(sorted(roads))
    text = ", ".join(f"{a} {b}" for a, b in listed)
    start, goal = route[0], route[-1]
    prompt = f"One-way roads: {text}. Find a way from {start} to {goal}, no place twice."
    lines = [f"go {a} {b}" for a, b in zip(route, route[1:], strict=False)]
    canonical = f"{start}{goal} " + " ".join(a + b for a, b in sorted(roads))
    data = {"roads": tuple(listed), "start": start, "goal": goal}
    return Draft(prompt, " ".join(route), lines, canonical, data)


def is_route(places: Sequence[str], roads: set[Road]) -> bool:
    """Whether each place leads to the next by a road and none comes twice."""
    steps = zip(places, places[1:], strict=False)
    return len(set(places)) == len(places) and all(step in roads for step in steps)


@dataclass(frozen=True)
class Paths:
    """Routes over one-way roads; any valid route counts."""

    level: int = 5
    seed: int = 0

    name = "paths"
    statement = (
        "Find a way from one place to another over a list of one-way roads without visiting a place twice. "
        "Each step is one move; the answer lists the places in order."
    )
    levels = range(1, len(SIZES) + 1)

    def __post_init__(self) -> None:
        need_level(self.level, self.levels)

    def problem(self, split: str, index: int) -> Problem:
        """Problem number `index` of `split`."""
        return make(self, self.level, split, index, draft)

    def check(self, problem: Problem, final: str | None) -> bool:
        """Whether the places named (`a b c d`) run from start to goal over given roads, none twice."""
        data = problem.secret.data
        if final is None or len(final) > LONGEST_LINE:
            return False
        places = final.strip().removesuffix(".").split()
        ends = bool(places) and places[0] == data["start"] and places[-1] == data["goal"]
        return ends and is_route(places, set(data["roads"]))

    def check_steps(self, problem: Problem, steps: Sequence[str]) -> list[bool]:
        """A move (`go a b`) is right if it is legal: a given road, from where the last legal move ended
        (at first the start), to a place not yet visited. Whether it leads on to the goal is not judged."""
        roads = set(problem.secret.data["roads"])
        visited = [str(problem.secret.data["start"])]
        return [self._judge(problem, line, roads, visited) for line in steps]

    def _judge(self, problem: Problem, line: str, roads: set[Road], visited: list[str]) -> bool:
        """One line; a legal move is added to `visited`."""
        answer = answer_of(line)
        if answer is not None:
            return self.check(problem, answer)
        move = re.fullmatch(r"\s*(?:go )?([a-z]) ([a-z])\s*", line[:LONGEST_LINE])
        if move is None or move[1] != visited[-1] or not is_route([*visited, move[2]], roads):
            return False
        visited.append(move[2])
        return True
