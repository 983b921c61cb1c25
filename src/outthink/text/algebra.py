r"""Whether two LaTeX expressions are the same, decided by sympy in a process of its own.

A process, because hostile algebra (9^{9^{9^9}}) can only be stopped by ending it, and because the limit
must hold in any thread. The limit is processor time, so that a busy machine gives the same verdict; a
wall-clock limit stands behind it. This file is also the program of that process: it imports no outthink.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from functools import lru_cache
from typing import Any

CPU_SECONDS = 2.0  # for one comparison
WALL_SECONDS = 12.0  # the same, on a machine that is busy with other work
START_SECONDS = 60.0  # until sympy is imported
MEMORY_BYTES = 4 << 30


class _Worker:
    """The process, started when first needed and again after each one that had to be ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._inherited: subprocess.Popen[bytes] | None = None

    def ask(self, a: str, b: str) -> bool | None:
        """The verdict on one pair; None if the process ran out of time or memory."""
        with self._lock:
            process = self._process or self._start()
            try:
                return self._exchange(process, json.dumps([a, b, CPU_SECONDS]).encode() + b"\n", WALL_SECONDS)
            except (OSError, EOFError):
                self.close()
                return None

    def close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def forget(self) -> None:
        """After a fork the process belongs to the parent; a lock held there is not ours."""
        self._lock = threading.Lock()
        self._inherited, self._process = self._process or self._inherited, None

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", __file__]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._exchange(self._process, b'["1", "1", 60]\n', START_SECONDS)
        return self._process

    @staticmethod
    def _exchange(process: subprocess.Popen[bytes], request: bytes, seconds: float) -> bool:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(request)
        process.stdin.flush()
        deadline = time.monotonic() + seconds
        while not select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
            if time.monotonic() >= deadline:
                raise EOFError("the algebra process ran out of time")
        reply = process.stdout.readline()
        if not reply:
            raise EOFError("the algebra process ended")
        return bool(json.loads(reply))


_WORKER = _Worker()
atexit.register(_WORKER.close)
os.register_at_fork(after_in_child=_WORKER.forget)


def same(a: str, b: str) -> bool | None:
    """Whether two LaTeX expressions are equal for all values of their letters; None if time ran out."""
    return _same(*sorted((a, b)))


_STUBBORN: set[str] = set()  # expressions that exhaust the limit on their own


@lru_cache(maxsize=4096)
def _same(a: str, b: str) -> bool | None:
    if a in _STUBBORN or b in _STUBBORN:
        return False  # for good, and at no cost
    verdict = _WORKER.ask(a, b)
    if verdict is None:
        _STUBBORN.update(one for one in (a, b) if _WORKER.ask(one, one) is None)
    return verdict


def _serve() -> None:
    """The program of the process: a line in is two expressions and a limit, a line out a verdict."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    reply = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    sys.stdout = sys.stderr  # what a library prints must not answer for us
    for line in sys.stdin:
        a, b, seconds = json.loads(line)
        _import_math()
        signal.setitimer(signal.ITIMER_PROF, seconds)  # the signal, not handled, ends the process
        try:
            verdict = _equal(_parse(a), _parse(b))
        except Exception:  # whatever a parser or sympy raises means: not shown to be equal
            verdict = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        reply.write(json.dumps(verdict) + "\n")
        reply.flush()


def _import_math() -> None:
    import math_verify  # noqa: F401  outside the time limit
    import sympy  # noqa: F401


@lru_cache(maxsize=1024)
def _parse(latex: str) -> Any:
    """A sympy object with exact numbers: decimals mean the fraction that they write."""
    import logging

    import sympy
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse

    logging.disable(logging.WARNING)  # it warns that its own time limit, which needs the main thread, is off
    rules = NormalizationConfig(malformed_operators=True, units=False, boxed="none")  # `5m` is 5 times m
    # Never the plain extractor: that one evaluates text.
    config = LatexExtractionConfig(boxed_match_priority=-1, normalization_config=rules)
    [parsed] = parse(f"${latex}$", [config], fallback_mode="no_fallback", parsing_timeout=None)
    return sympy.nsimplify(parsed, rational=True) if isinstance(parsed, sympy.Expr) else parsed


def _equal(a: Any, b: Any) -> bool:
    """Exact and symmetric; math_verify's own verdict rounds to six digits and treats its sides apart."""
    import sympy

    if any(one.has(sympy.zoo, sympy.nan) for one in (a, b)):
        return False
    if a == b:
        return True
    if isinstance(a, sympy.Eq) and isinstance(b, sympy.Eq):
        ratio = sympy.simplify((a.lhs - a.rhs) / (b.lhs - b.rhs))
        return bool(ratio.is_number and ratio.is_finite and not ratio.is_zero)
    if isinstance(a, sympy.MatrixBase) and isinstance(b, sympy.MatrixBase):
        return a.shape == b.shape and all(map(_equal, a.flat(), b.flat()))
    if isinstance(a, sympy.Expr) and isinstance(b, sympy.Expr):
        difference = a.doit() - b.doit()
        if _is_nonzero_somewhere(difference):
            return False
        simplified = sympy.simplify(difference)
        return simplified == 0 or simplified.equals(0) is True
    return False


def _is_nonzero_somewhere(expression: Any) -> bool:
    """Whether the expression is clearly not zero at an arbitrary point: cheap, and tells most apart."""
    import sympy

    letters = sorted(expression.free_symbols, key=str)
    point = {letter: sympy.Rational(1009 + 37 * i, 733 + 11 * i) for i, letter in enumerate(letters)}
    value = expression.subs(point).evalf(20)
    return bool(value.is_number and value.is_finite and abs(value) > 1e-6)


if __name__ == "__main__":
    _serve()
