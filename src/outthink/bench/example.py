"""A problem with its worked solution, to show what a task is like."""

from __future__ import annotations

from typing import NamedTuple

from outthink.core.problem import Task


class Example(NamedTuple):
    """A problem and what a right solution of it looks like."""

    id: str
    prompt: str
    solution: str
    reference: str


def worked_example(task: Task, index: int = 0) -> Example:
    """A test problem of the task."""
    problem = task.problem("test", index)
    return Example(problem.id, problem.prompt, problem.secret.solution, problem.secret.reference)
