"""Passages of running text, as prompts that are asked to be summarised."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks.prompts import Prompt, Prompts

FILE = "text/shakespeare.txt"
LENGTH = 280  # tokens of a passage
STRIDE = 8191  # characters from one passage to the next


def data_folder() -> Path:
    """Public texts: OUTTHINK_DATA, else ../shared/data beside the checkout."""
    return Path(os.environ.get("OUTTHINK_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")


@dataclass
class Passages:
    """`Summarize: <passage>`, a new passage every time, cut at a word."""

    prompts: Prompts
    text: str
    index: int = 0

    @classmethod
    def find(cls, prompts: Prompts) -> Passages | None:
        """None where this machine does not have the text."""
        path = data_folder() / FILE
        return cls(prompts, path.read_text()) if path.is_file() else None

    def next(self) -> Prompt:
        """The next passage."""
        self.index += 1
        begin = self.index * STRIDE % (len(self.text) - STRIDE)
        words = self.text[begin : begin + 4 * LENGTH].split(" ")[1:]
        while len((prompt := self.prompts.made("Summarize: " + " ".join(words))).tokens) > LENGTH:
            words.pop()
        return prompt
