"""Batch prompting: several questions in one prompt share its instructions and examples."""

from __future__ import annotations

import re
from dataclasses import dataclass

from outthink.core.branch import Branch
from outthink.core.errors import BadInput
from outthink.core.tasks import gather
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy import _prompts

QUESTION = re.compile(r"^[ \t]*Q\[(\d{1,9})\]:[ \t]*", re.MULTILINE)
ANSWER = re.compile(r"^[ \t*_]*A\[(\d{1,9})\][*_]*:[ \t*_]*([^\s*_].*?)[ \t*_]*$", re.MULTILINE)


def split(prompt: str) -> tuple[str, dict[int, str]]:
    """What comes before the questions, and the questions `Q[i]: ...` by their numbers. BadInput if there are
    none, or a number comes twice."""
    marks = list(QUESTION.finditer(prompt))
    if not marks:
        raise BadInput("batch_prompt() needs questions on lines that begin with Q[1]:, Q[2]: and so on")
    ends = [*(mark.start() for mark in marks[1:]), len(prompt)]
    found: dict[int, str] = {}
    for mark, end in zip(marks, ends, strict=True):
        if int(mark[1]) in found:
            raise BadInput(f"batch_prompt(): there are two questions Q[{mark[1]}]")
        found[int(mark[1])] = prompt[mark.end() : end].strip()
    return prompt[: marks[0].start()], found


def answers_in(text: str, asked: range) -> dict[int, str]:
    """The answers `A[i]: ...` to questions 1 to n. One that is answered in two ways is not answered, and
    numbers that were not asked are passed over."""
    said: dict[int, set[str]] = {}
    for number, answer in ANSWER.findall(text):
        said.setdefault(int(number), set()).add(answer)
    return {i: said[i].pop() for i in asked if len(said.get(i, ())) == 1}


@dataclass(frozen=True)
class BatchPrompt:
    """Answer the questions Q[1] ... Q[m] of a prompt `size` at a time; what comes before them is shared.

    Prompt tokens a question = shared / size + its own. Answers are read off lines `A[i]: ...`, i being the
    number within the batch; a question without one is asked once more alone if `again` is set. The final
    answer lists `i: answer` in the order of the questions, `?` where there is none. The prompt has the
    places {shared} and {questions}. Cheng et al., "Batch Prompting: Efficient Inference with Large Language
    Model APIs", arXiv 2301.08721.
    """

    size: int = 4
    again: bool = True
    batch: str = _prompts.BATCH

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        _prompts.at_least_one(size=self.size)
        _prompts.check_template("batch", self.batch, "shared", "questions")

    async def __call__(self, root: Branch, /) -> Answer:
        shared, questions = split(root.problem.prompt)
        numbers = list(questions)
        found: dict[int, str] = {}
        sizes = (self.size, 1) if self.again and self.size > 1 else (self.size,)
        for size in sizes:
            open_ones = [i for i in numbers if i not in found]
            groups = [open_ones[at : at + size] for at in range(0, len(open_ones), size)]
            for group in await gather(*(self._batch(root, shared, questions, g) for g in groups)):
                found |= group
            root.offer(_told(numbers, found), rank=len(found))
        return _told(numbers, found)

    async def _batch(
        self, root: Branch, shared: str, questions: dict[int, str], group: list[int]
    ) -> dict[int, str]:
        """The answers to one batch, by the numbers of the questions."""
        listed = "\n".join(f"Q[{at}]: {questions[i]}" for at, i in enumerate(group, 1))
        reply = await _prompts.note(root, _prompts.fill(self.batch, shared=shared, questions=listed))
        read = answers_in(reply or "", range(1, len(group) + 1))
        found = {group[at - 1]: answer for at, answer in read.items()}
        if found:
            root.offer(_told(list(questions), found), rank=len(found) / (len(questions) + 1))
        return found


def _told(numbers: list[int], found: dict[int, str]) -> Answer:
    final = "; ".join(f"{i}: {found.get(i, '?')}" for i in numbers)
    text = "\n".join(f"A[{i}]: {found.get(i, '?')}" for i in numbers)
    return Answer(text, final if found else None, len(found) / len(numbers), "done")
