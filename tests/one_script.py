"""A strategy that is one function, for tests of what a branch can do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from outthink.core.branch import Branch
from outthink.core.types import Answer

Script = Callable[[Branch], Awaitable[Any]]
found: list[Any] = []


@dataclass(frozen=True)
class Scripted:
    """What the function returns is kept in `found`."""

    script: Script

    async def __call__(self, root: Branch, /) -> Answer:
        found.append(await self.script(root))
        return Answer(root.text(), tokens=len(root))
