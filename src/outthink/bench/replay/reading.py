"""Recorded samples from a file of JSON lines.

    one sample a line     {"id": "p1", "answer": "18", "reference": "18", "logprob": -3.2, "tokens": 41}
    one problem a line    {"id": "p1", "reference": "18", "samples": [{"answer": "18"}, {"text": "... A: 7"}]}
    recorded systems      {"question": "...", "ground_truth": "... A: 18", NAME: {"solution": "... A: 18"}}
    results of a bench    results.jsonl, with every sample if `bench --samples` wrote it

Which of these a line is shows in its fields. A sample has `answer` (a text, a number, or null for none) or
`text`, from which the answer is read; optional are `logprob` (sum, natural), `tokens`, `score`, `scores` (by
name), `stats` (by name, a list with one value a token), `system`, `correct`, and `sample` (its own number).
What is right follows from `reference`, else from `task` and `index`, else from `correct`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from outthink import spec
from outthink.core.errors import BadInput
from outthink.core.problem import Problem, Secret
from outthink.core.samples import Sampled
from outthink.text import equivalent, final_answer

Line = dict[str, Any]


@dataclass(frozen=True)
class Recorded:
    """One problem with its samples, in the order of the file; `right` and `lines` are one entry a sample."""

    id: str
    problem: Problem
    samples: tuple[Sampled, ...]
    right: tuple[bool, ...]
    lines: tuple[int, ...]


@dataclass
class _Open:
    """A problem while its lines are read."""

    problem: Problem
    line: int
    samples: list[Sampled] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    numbers: set[tuple[str, int]] = field(default_factory=set)


@dataclass(frozen=True)
class _At:
    """A place in a file, for messages."""

    path: Path
    line: int

    def wrong(self, what: str) -> BadInput:
        return BadInput(f"{str(self.path)!r} line {self.line}: {what}")

    def get(self, record: Line, name: str, kinds: tuple[type, ...], what: str) -> Any:
        """A field's value, None if it is absent or null; BadInput if it is of another kind."""
        value = record.get(name)
        if value is not None and (
            not isinstance(value, kinds) or isinstance(value, bool) != (kinds == (bool,))
        ):
            raise self.wrong(f"field {name!r} is {_short(value)}; give {what}")
        if isinstance(value, float) and not math.isfinite(value):
            raise self.wrong(f"field {name!r} is {value}; give a finite number")
        return value


def read(path: Path) -> list[Recorded]:
    """The problems of a file, in the order in which they first come. BadInput names file, line and field."""
    found: dict[str, _Open] = {}
    for at, record in _lines(path):
        for key, problem, samples in _problems(record, at):
            opened = found.setdefault(key, _Open(problem, at.line))
            again = {s.system for s in opened.samples} & {_name(one) for one in samples}
            if "samples" in record and again:
                raise at.wrong(f"field 'id': {key!r} was on line {opened.line} already")
            if opened.problem.secret.reference != problem.secret.reference:
                raise at.wrong(f"field 'reference': {key!r} has another one on line {opened.line}")
            for sample in samples:
                _take(opened, sample, at)
    if not found:
        raise BadInput(f"{str(path)!r} holds no samples")
    return [_closed(key, opened) for key, opened in found.items()]


def _lines(path: Path) -> Iterator[tuple[_At, Line]]:
    """Each line as an object, blank ones passed over."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read {str(path)!r}: {error.strerror or error}") from None
    for number, line in enumerate(content.split(b"\n"), 1):
        at = _At(path, number)
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise at.wrong(f"not JSON ({error})") from None
        if not isinstance(record, dict):
            raise at.wrong("not an object; give one with the fields 'id' and 'answer' or 'text'")
        yield at, record


def _problems(record: Line, at: _At) -> Iterator[tuple[str, Problem, list[Line]]]:
    """The problem that a line is about, with its samples as plain objects."""
    systems = {k: v for k, v in record.items() if isinstance(v, dict) and "solution" in v}
    if systems and "ground_truth" in record:
        truth = final_answer(at.get(record, "ground_truth", (str,), "a text") or "").value
        if truth is None:
            raise at.wrong("field 'ground_truth': no answer is marked in it")
        question = at.get(record, "question", (str,), "a text") or ""
        samples = [_of_system(name, value) for name, value in systems.items()]
        yield f"line {at.line}", Problem(question, secret=Secret(reference=truth)), samples
        return
    key = at.get(record, "id", (str, int), "a text or a number")
    if key is None:
        raise at.wrong("no field 'id'; a line needs it, and 'answer' or 'text'")
    inner = at.get(record, "samples", (list,), "a list of samples")
    if inner is not None and not all(isinstance(one, dict) for one in inner):
        raise at.wrong("field 'samples': give a list of objects")
    if inner == []:
        raise at.wrong("field 'samples' is empty; give at least one")
    shared = {"system": record["strategy"]} if "receipt" in record and "strategy" in record else {}
    yield str(key), _problem(record, at), [shared | one for one in inner] if inner else [shared | record]


def _of_system(name: str, value: Line) -> Line:
    """A recorded system's solution as a sample."""
    return {"system": name, "text": value["solution"], "correct": value.get("is_correct")}


def _problem(record: Line, at: _At) -> Problem:
    """What is known of the problem: its task's own, or one with the reference that the line gives."""
    task, index = (
        at.get(record, n, k, w) for n, k, w in (("task", (str,), "a text"), ("index", (int,), "a number"))
    )
    if task is not None and index is not None:
        try:
            found: Problem = spec.parse(task, "bench.tasks").problem("test", index)
        except ValueError as error:
            raise at.wrong(f"field 'task': {error}") from None
        return found
    reference = at.get(record, "reference", (str, int, float), "a text or a number")
    return Problem(
        at.get(record, "question", (str,), "a text") or "",
        secret=Secret(reference="" if reference is None else str(reference)),
    )


def _take(opened: _Open, record: Line, at: _At) -> None:
    """Add a sample to its problem."""
    sample = _sample(record, at, len(opened.samples))
    number = at.get(record, "sample", (int,), "a number")
    if number is not None:
        if (sample.system, number) in opened.numbers:
            raise at.wrong(f"field 'sample': {number} is given twice for this problem")
        opened.numbers.add((sample.system, number))
    opened.samples.append(sample)
    opened.right.append(_is_right(sample, record, opened.problem, at))
    opened.lines.append(at.line)


def _sample(record: Line, at: _At, place: int) -> Sampled:
    text = at.get(record, "text", (str,), "a text")
    name = next((n for n in ("answer", "final") if n in record), None)
    if name is None and text is None:
        raise at.wrong("no field 'answer' and no field 'text'; a sample needs one")
    answer = at.get(record, name, (str, int, float), "a text, a number or null") if name else None
    final = final_answer(text or "").value if name is None else None if answer is None else str(answer)
    tokens = at.get(record, "tokens", (int,), "a number of tokens")
    if tokens is not None and tokens < 0:
        raise at.wrong(f"field 'tokens' is {tokens}; give 0 (not counted) or more")
    logprob = at.get(record, "logprob", (int, float), "a number")
    if logprob is not None and logprob > 1e-6:
        raise at.wrong(f"field 'logprob' is {logprob}; a log-probability is at most 0")
    scores = {k: _number(v, f"scores.{k}", at) for k, v in _object(record, "scores", at).items()}
    if record.get("score") is not None:
        scores["score"] = _number(record["score"], "score", at)
    stats = {k: _numbers(v, f"stats.{k}", at) for k, v in _object(record, "stats", at).items()}
    system = at.get(record, "system", (str,), "a text") or ""
    return Sampled(final, text or "", tokens or 0, logprob, None, scores, stats, system, place)


def _object(record: Line, name: str, at: _At) -> Mapping[str, Any]:
    found: Mapping[str, Any] | None = at.get(record, name, (dict,), "an object of names and values")
    return found or {}


def _number(value: Any, name: str, at: _At) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise at.wrong(f"field {name!r} is {_short(value)}; give a finite number")
    return float(value)


def _numbers(value: Any, name: str, at: _At) -> tuple[float, ...]:
    if not isinstance(value, list):
        raise at.wrong(f"field {name!r} is {_short(value)}; give a list of numbers, one a token")
    return tuple(_number(item, name, at) for item in value)


def _is_right(sample: Sampled, record: Line, problem: Problem, at: _At) -> bool:
    """Whether a sample answers its problem."""
    said: bool | None = at.get(record, "correct", (bool,), "true or false")
    if problem.task is not None:
        return problem.task.check(problem, sample.final)
    if problem.secret.reference:
        return equivalent(sample.final, problem.secret.reference)
    if said is None:
        raise at.wrong("no field 'reference' and no field 'correct': what is right is not known")
    return said


def _name(record: Line) -> str:
    """The system that a sample says it is from."""
    return str(record.get("system") or "")


def _closed(key: str, opened: _Open) -> Recorded:
    return Recorded(key, opened.problem, tuple(opened.samples), tuple(opened.right), tuple(opened.lines))


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:37] + "..."
