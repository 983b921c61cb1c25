"""Prompts of a wanted length, a new one every time, so that nobody's cache of an earlier one helps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from outthink.bench import tasks


@dataclass(frozen=True)
class Prompt:
    """A question, and the tokens that the engine makes of it; rivals get the tokens."""

    text: str
    tokens: list[int]


class Prompts:
    """Makes prompts from the problems of a task, in order."""

    def __init__(self, tokenizer: Any, task: str = "steps") -> None:
        self.tokenizer = tokenizer
        self.task = tasks.load(task)
        self.index = 0

    def problem(self) -> Prompt:
        """The next problem as it is."""
        self.index += 1
        return self.made(self.task.problem("test", self.index).prompt)

    def long(self, length: int) -> Prompt:
        """Problems one after another, cut at a word so that there are at most `length` tokens."""
        text = ""
        while len(self.made(text).tokens) < length:
            text += self.problem().text + " "
        words = text.split(" ")
        low, high = 1, len(words)
        while low < high:
            middle = (low + high + 1) // 2
            fits = len(self.made(" ".join(words[:middle])).tokens) <= length
            low, high = (middle, high) if fits else (low, middle - 1)
        return self.made(" ".join(words[:low]))

    def made(self, text: str) -> Prompt:
        """A question as a prompt."""
        return Prompt(text, self.tokenizer.chat([{"role": "user", "content": text}]))
