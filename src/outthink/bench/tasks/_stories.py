"""The stories of `steps`: running amounts, amounts in relation to each other, purchases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from outthink.bench.tasks._common import Draft, Draw

GIVEN, TOTAL = -1, -2  # what an operation starts from: the text, or the sum of all parts
SIZES = (  # level -> (operations, largest first amount, largest amount on the way, idle sentences)
    (2, 12, 40, 0),
    (3, 20, 60, 0),
    (3, 50, 99, 0),
    (4, 50, 199, 0),
    (5, 99, 499, 1),
    (6, 99, 999, 1),
    (9, 500, 1999, 1),
    (13, 2000, 9999, 2),
)
NAMES = "Mia Tom Ben Ana Leo Eva Sam Zoe Max Ida Jon Kim Lea Noa Pia Rob Sue Tim Uma Vic".split()
OBJECTS = "coins books cards stones shells apples pens stamps beads nuts eggs cups keys seeds bricks".split()
BOXES = "boxes bags jars crates sacks trays".split()
ADD = (
    "{n} finds {k} more.",
    "{f} gives {n} {k} {o}.",
    "{n} buys {k} {o}.",
    "Then {n} gets {k} {o} from {f}.",
    "{k} more {o} arrive.",
)
SUBTRACT = (
    "{n} loses {k}.",
    "{n} gives {k} {o} to {f}.",
    "{n} sells {k} {o}.",
    "{f} takes {k} of them.",
    "{k} {o} break and are thrown away.",
)
MULTIPLY = (
    "Then the number of {o} grows to {k} times as many.",
    "{n} trades every one for {k} new ones.",
    "A trick turns each of the {o} into {k}.",
)
DIVIDE = (
    "{n} makes {k} equal piles and keeps only one.",
    "{n} shares all {o} equally with others, {k} people in all, and keeps one share.",
    "Only one of every {k} {o} is kept.",
)
EVENTS = {"+": ADD, "-": SUBTRACT, "*": MULTIPLY, "/": DIVIDE}
RELATIONS = {
    "+": ("{n} has {k} more {o} than {f}.", "{n} has as many {o} as {f} and {k} more."),
    "-": ("{n} has {k} fewer {o} than {f}.", "{n} has as many {o} as {f} less {k}."),
    "*": ("{n} has {k} times as many {o} as {f}.", "For each of the {o} of {f}, {n} has {k}."),
    "/": ("{f} has {k} times as many {o} as {n}.", "{n} has one of every {k} {o} that {f} has."),
}
ASIDES = (
    "{f} has {k} {p}.",
    "There are {k} {p} on the table.",
    "{f} paid {k} for some {p} last week.",
    "A shop nearby sells {k} {p} a day.",
    "{f} lives at number {k}.",
)


@dataclass(frozen=True)
class Operation:
    """One planned operation: `for label: a op b`, from operation number `needs` (or GIVEN, TOTAL)."""

    a: int
    op: str
    b: int
    needs: int = GIVEN
    label: str = ""

    @property
    def value(self) -> int:
        """The result."""
        return result(self.a, self.op, self.b)

    @property
    def line(self) -> str:
        """`a op b = c`, after `for label:` if there is one."""
        text = f"{self.a} {self.op} {self.b} = {self.value}"
        return f"for {self.label}: {text}" if self.label else text

    def same(self, label: str | None, a: int, op: str, b: int) -> bool:
        """Whether a line says this operation: the order of + and * is free, a label may be left out."""
        numbers = [(self.a, self.b), (self.b, self.a)] if op in "+*" else [(self.a, self.b)]
        return op == self.op and (a, b) in numbers and (label is None or label == self.label)


def result(a: int, op: str, b: int) -> int:
    """a op b; a division is exact where it is planned."""
    return a + b if op == "+" else a - b if op == "-" else a * b if op == "*" else a // b


def holds(a: int, op: str, b: int, c: int) -> bool:
    """Whether a op b = c exactly."""
    return (b != 0 and a == b * c) if op == "/" else result(a, op, b) == c


def next_operation(draw: Draw, amount: int, largest: int) -> tuple[str, int]:
    """An operation on the amount that stays in 2 .. largest; * and / stay near what a head can do."""
    found = []
    for k in range(2, 10):
        product, exact = amount * k <= largest and (amount < 200 or k == 2), amount % k == 0
        found += [("*", k)] * product + [("/", k)] * (exact and 1 < amount // k < 200)
    room = min(largest - amount, max(20, largest // 2))
    choice = draw.below(6)
    if found and choice < 2:
        return draw.pick(found)
    if room >= 2 and (choice < 4 or amount < 5):
        return "+", draw.between(2, room)
    if amount > 4:
        return "-", draw.between(2, amount - 2)
    return "+", draw.between(2, 9)


def running(draw: Draw, size: tuple[int, int, int, int]) -> tuple[list[str], list[Operation], str]:
    """One amount, changed again and again: sentences, operations, question."""
    number, first, largest, _ = size
    name, *others = draw.sample(NAMES, 4)
    thing = draw.pick(OBJECTS)
    amount = draw.between(5, first)
    sentences, plan = [f"{name} has {amount} {thing}."], []
    for i in range(number):
        op, k = next_operation(draw, amount, largest)
        plan.append(Operation(amount, op, k, i - 1 if i else GIVEN))
        sentences.append(draw.pick(EVENTS[op]).format(n=name, f=draw.pick(others), o=thing, k=k))
        amount = plan[-1].value
    return sentences, plan, f"How many {thing} does {name} have in the end?"


def relations(
    draw: Draw, size: tuple[int, int, int, int], number: int
) -> tuple[list[str], list[Operation], str]:
    """`number` amounts, each in relation to an earlier one; their sentences may come in any order."""
    people = draw.sample(NAMES, number + 1)
    thing = draw.pick(OBJECTS)
    first = draw.between(5, size[1])
    sentences, plan, known = [f"{people[0]} has {first} {thing}."], [], [(people[0], first, GIVEN)]
    for i in range(number):
        other, amount, needs = known[-1] if draw.chance(0.7) else draw.pick(known)
        op, k = next_operation(draw, amount, size[2])
        plan.append(Operation(amount, op, k, needs, people[i + 1]))
        sentences.append(draw.pick(RELATIONS[op]).format(n=people[i + 1], f=other, o=thing, k=k))
        known.append((people[i + 1], plan[-1].value, i))
    return sentences, plan, thing


def compare(draw: Draw, size: tuple[int, int, int, int]) -> Draft:
    """Relations; asked is one amount (all others lead to it or come before it) or the sum of all."""
    number = size[0]
    together = draw.chance(0.5)
    count = (number + 1) // 2 if together else number
    sentences, plan, thing = relations(draw, size, count)
    if number >= 5:
        sentences = draw.shuffled(sentences)
    if not together:
        question = f"How many {thing} does {plan[-1].label} have?"
        return finish(draw, size, sentences, question, needed(plan))
    amounts = [(plan[0].a, GIVEN), *((step.value, i) for i, step in enumerate(plan))]
    return finish(draw, size, sentences, f"How many {thing} do they have together?", plan, amounts)


def needed(plan: Sequence[Operation]) -> list[Operation]:
    """The operations that the last one rests on, in order, renumbered."""
    chain = [len(plan) - 1]
    while plan[chain[-1]].needs != GIVEN:
        chain.append(plan[chain[-1]].needs)
    kept = [plan[i] for i in reversed(chain)]
    return [Operation(s.a, s.op, s.b, i - 1 if i else GIVEN, s.label) for i, s in enumerate(kept)]


def purchases(draw: Draw, size: tuple[int, int, int, int]) -> Draft:
    """Several boxes of a content each, added up, then changed a few times."""
    number, first, largest, _ = size
    name, *others = draw.sample(NAMES, 4)
    thing = draw.pick(OBJECTS)
    count = min((number + 1) // 2, 5)
    kinds = draw.sample(BOXES, count)
    plan = [Operation(draw.between(2, 9), "*", draw.between(3, max(9, first // 9))) for _ in kinds]
    bought = [f"{s.a} {kind} of {s.b} {thing}" for s, kind in zip(plan, kinds, strict=True)]
    sentences = [f"{name} buys {', '.join(bought[:-1])}{' and ' if count > 1 else ''}{bought[-1]}."]
    amounts = [(step.value, i) for i, step in enumerate(plan)]
    amount = sum(value for value, _ in amounts)
    for i in range(number - 2 * count + 1):
        op, k = next_operation(draw, amount, max(largest, amount + 20))
        plan.append(Operation(amount, op, k, len(plan) - 1 if i else TOTAL if count > 1 else 0))
        sentences.append(draw.pick(EVENTS[op]).format(n=name, f=draw.pick(others), o=thing, k=k))
        amount = plan[-1].value
    return finish(draw, size, sentences, f"How many {thing} does {name} have in the end?", plan, amounts)


def sums(amounts: Sequence[tuple[int, int]]) -> list[str]:
    """The lines that add the amounts up in order."""
    lines, total = [], amounts[0][0] if amounts else 0
    for value, _ in amounts[1:]:
        lines.append(f"{total} + {value} = {total + value}")
        total += value
    return lines


def finish(
    draw: Draw,
    size: tuple[int, int, int, int],
    sentences: Sequence[str],
    question: str,
    plan: Sequence[Operation],
    amounts: Sequence[tuple[int, int]] = (),
) -> Draft:
    """Asides put in, lines written: operations before the sum, the sum, operations on it."""
    told = list(sentences)
    thing = draw.pick([o for o in OBJECTS if o not in question])
    names = [name for name in NAMES if not any(name in sentence for sentence in sentences)]
    for _ in range(size[3]):
        aside = draw.pick(ASIDES).format(f=draw.pick(names), k=draw.between(2, size[1]), p=thing)
        told.insert(draw.between(1, len(told)), aside)
    chained = next((i for i, step in enumerate(plan) if step.needs == TOTAL), len(plan))
    lines = [step.line for step in plan[:chained]] + sums(amounts) + [step.line for step in plan[chained:]]
    answer = lines[-1].rpartition(" ")[2]
    canonical = " ".join(lines)
    data = {"plan": tuple(plan), "parts": tuple(amounts)}
    return Draft(" ".join([*told, question]), answer, lines, canonical, data)


def draft(draw: Draw, level: int) -> Draft:
    """One of the three kinds of story."""
    size = SIZES[level - 1]
    kind = draw.below(3)
    if kind == 0:
        sentences, plan, question = running(draw, size)
        return finish(draw, size, sentences, question, plan)
    return compare(draw, size) if kind == 1 else purchases(draw, size)
