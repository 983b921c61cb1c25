"""Is speculation lossless here? The same seeds, plain and drafted, token for token; every parting is judged.

For each sampling and strategy all problems run twice on one engine. Two texts that differ part at their first
different token, and the margin of plain decoding's draw there (decode/margin.py) says whether rounding can
have done it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from outthink.core.jobs import Draw
from outthink.core.problem import Problem, Task
from outthink.core.rng import purpose
from outthink.core.types import Answer, Sampling, Want
from outthink.engine.trace import Trace

if TYPE_CHECKING:
    from outthink.core.branch import Branch
    from outthink.core.drafting import Drafter
    from outthink.core.protocols import Strategy
    from outthink.engine.engine import Engine

EPSILON = 1e-4
SAMPLINGS = (
    Sampling(temperature=0.0),
    Sampling(temperature=0.8),
    Sampling(
        temperature=1.0, top_p=0.9, min_p=0.02, repetition_penalty=1.1, logit_bias=((5, 0.5), (17, -1.0))
    ),
)

Key = tuple[int, tuple[int, ...]]  # (request, branch)


@dataclass(slots=True)
class Written:
    """What was written on a branch, and with which key."""

    key: int
    prompt: list[int]
    sampling: Sampling
    tokens: list[int] = field(default_factory=list)


class Listener(Trace):
    """Remembers every token of every branch, by request and path."""

    def __init__(self) -> None:
        self.written: dict[Key, Written] = {}

    def wrote(self, branch: Branch, tokens: Sequence[int]) -> None:
        run: Any = branch.run
        key = (run.request.tag, branch.path)
        found = self.written.get(key)
        if found is None:
            prompt = branch.place.tree.tokens(branch.cursor)[: -len(tokens)]
            found = self.written[key] = Written(branch.key, prompt, branch.sampling)
        found.tokens.extend(tokens)


class Parting(NamedTuple):
    """Two texts that differ: where, and how close the draw was there."""

    problem: int
    branch: tuple[int, ...]
    position: int  # in the text, from 0
    margin: float


@dataclass(frozen=True)
class Line:
    """The outcome of one sampling and strategy."""

    task: str
    strategy: str
    sampling: Sampling
    texts: int
    identical: int
    answers_differ: int  # problems whose answers differ
    partings: tuple[Parting, ...]
    speedup: float  # plain seconds over drafted seconds
    per_step: float  # tokens written per branch and pass
    checked: int = 0  # drafted tokens that the model evaluated
    accepted: int = 0  # of these, the tokens that were written: 0 certifies nothing

    def is_explained(self, epsilon: float) -> bool:
        """Whether every parting is one of rounding."""
        return all(p.margin <= epsilon for p in self.partings)

    def as_dict(self) -> dict[str, Any]:
        worst = max(self.partings, key=lambda p: p.margin, default=None)
        return {
            "task": self.task,
            "strategy": self.strategy,
            "temperature": self.sampling.temperature,
            "warped": self.sampling.top_p < 1,
            "texts": self.texts,
            "identical": self.identical,
            "answers_differ": self.answers_differ,
            "partings": [p._asdict() for p in self.partings],
            "largest_margin": worst.margin if worst else None,
            "speedup": self.speedup,
            "per_step": self.per_step,
            "checked": self.checked,
            "accepted": self.accepted,
        }


def certify(
    engine: Engine,
    drafter: Drafter,
    task: Task,
    strategies: Iterable[tuple[str, Strategy]],
    n: int,
    seed: int = 0,
    samplings: Sequence[Sampling] = SAMPLINGS,
    max_tokens: int | None = None,
    listen: Callable[[], None] = lambda: None,
) -> list[Line]:
    """One line for each strategy and sampling; `listen` hears of every finished run."""
    problems = [task.problem("test", i) for i in range(n)]
    lines = []
    for name, strategy in strategies:
        for sampling in samplings:
            told = _with_length(sampling, max_tokens)
            plain = _run(engine, strategy, problems, told, seed, "none", listen)
            drafted = _run(engine, strategy, problems, told, seed, drafter, listen)
            lines.append(_compare(engine, task.name, name, told, plain, drafted))
    return lines


def _with_length(sampling: Sampling, max_tokens: int | None) -> Sampling:
    from dataclasses import replace

    return sampling if max_tokens is None else replace(sampling, max_tokens=max_tokens)


class Pass(NamedTuple):
    """All problems once."""

    written: dict[Key, Written]
    answers: list[Answer]
    seconds: float


def _run(
    engine: Engine,
    strategy: Strategy,
    problems: Sequence[Problem],
    sampling: Sampling,
    seed: int,
    drafter: Drafter | str,
    listen: Callable[[], None],
) -> Pass:
    from outthink.engine.request import Request

    listener, before = Listener(), engine.trace
    engine.trace, began = listener, engine.clock()
    requests = [
        Request(strategy, problem, seed=seed + i, sampling=sampling, tag=i, speculate=drafter)
        for i, problem in enumerate(problems)
    ]
    answers: dict[int, Answer] = {}
    try:
        for done in engine.map(requests):
            if done.error is not None:
                raise done.error
            assert done.answer is not None
            answers[done.request.tag] = done.answer
            listen()
    finally:
        engine.trace = before
    return Pass(listener.written, [answers[i] for i in range(len(problems))], engine.clock() - began)


def _compare(engine: Engine, task: str, name: str, sampling: Sampling, plain: Pass, drafted: Pass) -> Line:
    keys = sorted(plain.written.keys() | drafted.written.keys())
    partings = []
    for key in keys:
        ours, theirs = plain.written.get(key), drafted.written.get(key)
        if ours is None or theirs is None:
            partings.append(Parting(*key, 0, float("inf")))  # a branch that one of them never wrote on
        elif ours.tokens != theirs.tokens:
            at = _first_difference(ours.tokens, theirs.tokens)
            partings.append(Parting(*key, at, _margin(engine, ours, sampling, at)))
    receipts = [a.receipt for a in drafted.answers if a.receipt]
    steps = [receipt.drawn_per_row for receipt in receipts]
    tallies = [tally for receipt in receipts for tally in receipt.speculation.values()]
    return Line(
        task,
        name,
        sampling,
        len(keys),
        len(keys) - len(partings),
        sum(a.text != b.text for a, b in zip(plain.answers, drafted.answers, strict=True)),
        tuple(partings),
        plain.seconds / max(drafted.seconds, 1e-9),
        sum(steps) / max(1, len(steps)),
        sum(tally.checked for tally in tallies),
        sum(tally.accepted for tally in tallies),
    )


def _first_difference(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _margin(engine: Engine, written: Written, sampling: Sampling, at: int) -> float:
    """The margin of the draw of token `at`, from the row that the model computes alone."""
    from outthink.core.problem import Problem
    from outthink.decode.margin import margin
    from outthink.engine.request import Request

    prefix, rows = written.tokens[:at], []

    async def look(root: Branch, /) -> Answer:
        branch = await root.open([*written.prompt, *prefix])
        rows.append((await branch.look(Want(row=True))).row or ())
        return Answer("")

    engine.run(Request(look, Problem("."), speculate="none"))
    states = _states(sampling, written.prompt, prefix)
    position = len(written.prompt) + at
    return margin(rows[0], Draw(0, purpose(written.key, "token"), position, sampling, states))


def _states(sampling: Sampling, prompt: Sequence[int], tokens: Sequence[int]) -> tuple[Any, ...]:
    from outthink.decode.sample import warps_of

    states = []
    for warp in warps_of(sampling):
        state = warp.start(prompt)
        for token in tokens:
            state = warp.next(state, token)
        states.append(state)
    return tuple(states)
