"""Unit tests, run in a sandbox, as the verifier of code."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from outthink.core.errors import BadInput
from outthink.core.judging import NO_WORD
from outthink.core.tasks import gather, offload
from outthink.core.types import Candidate, Score
from outthink.spec import show
from outthink.verify._sandbox import STARTING, Limits, NoSandbox, passes

_FENCE = re.compile(r"^(`{3,}|~{3,})[ \t]*(\S*)[^\n]*\n(.*?)^\1[`~]*[ \t]*$", re.S | re.M)
_PYTHON = ("python", "py", "python3")


def code_of(text: str) -> str:
    """The last fenced block that says it is Python; else the last that says nothing; else the text."""
    blocks = _FENCE.findall(text.replace("\r\n", "\n"))
    named = [code for _, label, code in blocks if label.lower() in _PYTHON]
    plain = [code for _, label, code in blocks if not label]
    return next((codes[-1] for codes in (named, plain) if codes), text)


def compiles(test: str) -> bool:
    """Whether a test is Python at all."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(test, "<test>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


@dataclass(frozen=True)
class UnitTests:
    """The share of unit tests that a candidate's Python code passes, run in a sandbox.

    value = passed / sound tests, steps one each. Tests are `tests` (blocks parted by blank lines) or the
    problem's own (`data["tests"]`); the code is the last fenced block of the text. A test is broken, and left
    out, if it is no Python, or if the problem's reference code (`data["code"]`) fails it; without a sound
    test there is no word (-inf). The receipt says so.

    Each test has a process of its own: no network, no files but the system's programs and Python's (to be
    read) and `files` MiB of its own, `memory` MiB a process, at most `processes` of them, `timeout` seconds
    from when it runs; Linux 5.12 or later with user namespaces, on x86-64, ARM64 or RISC-V.
    Where that cannot be had it refuses with BadInput; `isolation="limits"` keeps only the limits on time,
    memory and file size (said on the receipt): for code that you trust. Code that sets out to cheat can
    report success from inside its own process.
    """

    tests: str = ""
    timeout: float = 5.0
    memory: int = 512
    files: int = 8
    processes: int = 8
    isolation: str = "full"
    records = ()

    __repr__ = show

    def __post_init__(self) -> None:
        if not 0 < self.timeout < 3600:
            raise ValueError(f"timeout={self.timeout}: give seconds, above 0 and below an hour")
        if self.memory < 64 or self.files < 1 or self.processes < 1:
            given = f"memory={self.memory}, files={self.files}, processes={self.processes}"
            raise ValueError(f"{given}: give at least 64, 1 and 1")
        if self.isolation not in ("full", "limits"):
            raise ValueError(f"isolation={self.isolation!r}: give 'full' or 'limits'")

    async def __call__(self, candidates: Sequence[Candidate], /) -> list[Score]:
        return list(await gather(*map(self._one, candidates)))

    async def _one(self, candidate: Candidate) -> Score:
        tests = self._tests(candidate)
        sound = await self._sound(candidate, tests)
        if len(sound) < len(tests):
            _say(candidate, "unit_tests", f"{len(tests) - len(sound)} of {len(tests)} tests are broken")
        if self.isolation == "limits":
            _say(candidate, "sandbox", "code ran with limits, but with network and files in its reach")
        if not sound:
            return NO_WORD
        passed = await self._run(code_of(candidate.text), sound)
        return Score(sum(passed) / len(passed), tuple(map(float, passed)), all(passed))

    def _tests(self, candidate: Candidate) -> list[str]:
        given = [block for block in re.split(r"\n[ \t]*\n", self.tests) if block.strip()]
        own = candidate.problem.secret.data.get("tests", ()) if candidate.problem is not None else ()
        tests = given or ([own] if isinstance(own, str) else list(own))
        if not tests:
            raise BadInput("unit_tests() needs tests: give tests=..., or a problem that has some")
        return tests

    async def _sound(self, candidate: Candidate, tests: list[str]) -> list[str]:
        """The tests that are Python, and that the reference code passes where there is one."""
        tests = [test for test in tests if compiles(test)]
        reference = candidate.problem.secret.data.get("code") if candidate.problem is not None else None
        if reference is None or not tests:
            return tests
        verdicts = await self._run(reference, tests)
        return [test for test, is_passed in zip(tests, verdicts, strict=True) if is_passed]

    async def _run(self, code: str, tests: list[str]) -> list[bool]:
        limits = Limits(self.timeout, self.memory, self.files, self.processes, self.isolation == "full")
        try:
            found: list[bool] = await offload(
                passes, code, tests, limits, timeout=(STARTING + self.timeout) * (1 + len(tests))
            )
        except NoSandbox as error:
            raise BadInput(
                f"unit_tests() cannot shut code in on this machine ({error}); allow user namespaces, or give "
                "isolation='limits' for code that you trust"
            ) from error
        return found


def _say(candidate: Candidate, what: str, why: str) -> None:
    if candidate.branch is not None:
        candidate.branch.degrade(what, why)
