"""Problems of any dataset: a file of JSON lines, each an object with a prompt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from outthink.core.errors import BadInput
from outthink.core.problem import Problem, Secret


class Line(NamedTuple):
    """One problem of a file, by its number from 1; `mark` tells whether it is still the same one."""

    number: int
    mark: str
    problem: Problem


@dataclass(frozen=True)
class Dataset:
    """A file, and which of its fields are the prompt and the right answer. `id` is used where it is there."""

    path: str
    prompt: str = "prompt"
    reference: str | None = None

    def __iter__(self) -> Iterator[Line]:
        """Every problem in order; empty lines are passed over. BadInput names the line that is wrong."""
        try:
            with Path(self.path).open("rb") as file:
                for number, content in enumerate(file, 1):
                    if content.strip():
                        yield self._line(number, content)
        except OSError as error:
            raise BadInput(f"cannot read {self.path!r}: {error.strerror or error}") from None

    def _line(self, number: int, content: bytes) -> Line:
        where = f"{self.path!r} line {number}"
        try:
            found = json.loads(content)
        except ValueError:
            raise BadInput(f"{where} is no JSON") from None
        if not isinstance(found, dict):
            raise BadInput(f"{where} is no JSON object")
        prompt = self._text(found, self.prompt, "--prompt", where)
        if not prompt.strip():
            raise BadInput(f"{where}: the prompt is empty")
        reference = self._text(found, self.reference, "--reference", where) if self.reference else ""
        mark = blake2b(f"{prompt}\0{reference}".encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        name = str(found.get("id", number))
        return Line(number, mark, Problem(prompt, id=name, secret=Secret(reference)))

    def _text(self, found: dict[str, Any], field: str, flag: str, where: str) -> str:
        value = found.get(field)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            there = ", ".join(map(str, found)) or "none"
            raise BadInput(
                f"{where} has no text in {field!r}; give another field with {flag}. There are: {there}"
            )
        return value
