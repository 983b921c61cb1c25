"""The sandbox holds what is let loose in it, and a broken test is not a failed answer."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from outthink.core.branch import Branch
from outthink.core.errors import BadInput
from outthink.core.judging import judge
from outthink.core.problem import Problem, Secret
from outthink.core.receipt import Receipt
from outthink.core.types import Answer, Candidate, Score
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.testing.scripted import scripted
from outthink.verify import UnitTests, _sandbox
from outthink.verify._sandbox import Limits, NoSandbox, passes
from outthink.verify._sandboxed import kept
from outthink.verify.unit_tests import code_of

LIMITS = Limits(seconds=4.0, memory=256, files=4, processes=8, isolate=True)


@pytest.fixture(scope="module", autouse=True)
def sandbox() -> None:
    try:
        assert passes("", ["pass"], Limits(60.0, 256, 4, 8, True)) == [True]
    except NoSandbox as error:
        pytest.skip(f"this machine cannot shut code in: {error}")


def holds(code: str, limits: Limits = LIMITS) -> bool:
    """Whether `code`, which asserts that it was held, came to its end."""
    return passes(code, ["pass"], limits) == [True]


def test_right_code_passes_and_wrong_code_fails() -> None:
    tests = ["assert f(1) == 2", "assert f(2) == 4", "assert f(0) == 0"]
    assert passes("def f(x): return 2 * x", tests, LIMITS) == [True, True, True]
    assert passes("def f(x): return x * x + (x < 2)", tests, LIMITS) == [True, True, False]
    assert passes("def f(x) return", tests, LIMITS) == [False, False, False]


def test_the_network_is_out_of_reach() -> None:
    """A server that listens here, on this machine, cannot be reached from inside."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        attempt = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)"
        assert not holds(attempt)
        assert holds(attempt, Limits(60.0, 256, 4, 8, isolate=False))  # the attempt itself is a real one
    assert holds(
        "import socket, errno\ntry: socket.create_connection(('10.0.0.1', 80), 2)\n"
        "except OSError as e: assert e.errno == errno.ENETUNREACH\nelse: raise SystemExit"
    )


def test_sockets_of_this_machine_are_out_of_reach(tmp_path: Path) -> None:
    """A socket in the file system is no part of a network namespace: it must have no name inside."""
    with tempfile.TemporaryDirectory() as place, socket.socket(socket.AF_UNIX) as server:
        os.chmod(place, 0o755)
        server.bind(f"{place}/s")
        os.chmod(f"{place}/s", 0o777)
        server.listen(1)
        attempt = f"import socket\nsocket.socket(socket.AF_UNIX).connect('{place}/s')"
        assert not holds(attempt)
        assert holds(attempt, Limits(60.0, 256, 4, 8, isolate=False))
    vsock, pair = "socket.socket(40, socket.SOCK_STREAM)", "socket.socketpair()"
    assert holds(f"import socket\n{pair}\ntry: {vsock}\nexcept PermissionError: pass\nelse: raise SystemExit")


def test_files_outside_cannot_be_read() -> None:
    """Not even one that everybody may read, nor through a link; the system's own directories are all."""
    with tempfile.NamedTemporaryFile("w") as secret:
        secret.write("key")
        secret.flush()
        os.chmod(secret.name, 0o644)
        read = f"assert open('{secret.name}').read() == 'key'"
        assert not holds(read)
        assert not holds(f"import os\nos.symlink('{secret.name}', 'a')\nassert open('a').read() == 'key'")
        assert holds(read, Limits(60.0, 256, 4, 8, isolate=False))
    shown = sorted(
        {path.split("/")[1] for path in kept()} | {"proc", "home"}
    )  # of Python's own, the way to it
    assert holds(f"import os\nassert sorted(os.listdir('/')) == {shown}")


def test_memory_that_outlives_its_process_is_refused() -> None:
    """A segment that is written and let go counts for nobody."""
    assert holds(
        "import ctypes\nc = ctypes.CDLL(None, use_errno=True)\n"
        "assert c.shmget(0, 2**20, 0o1600) == -1 and ctypes.get_errno() == 1\n"
        "assert c.msgget(0, 0o1600) == -1 and c.semget(0, 1, 0o1600) == -1"
    )


def test_the_time_of_a_test_begins_when_it_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that is slow to start a process is not one without a sandbox."""
    slow = tmp_path / "inside.py"
    slow.write_text(
        Path(_sandbox.INSIDE)
        .read_text()
        .replace("import ctypes", "import time; time.sleep(1)\nimport ctypes")
    )
    monkeypatch.setattr(_sandbox, "INSIDE", slow)
    assert passes("", ["pass"], Limits(0.5, 256, 4, 8, True)) == [True]


def test_what_programs_use_every_day_works_inside() -> None:
    assert holds(
        "import asyncio, os, subprocess, tempfile\nasync def one(): return 1\n"
        "assert asyncio.run(one()) == 1\n"
        "assert subprocess.run(['/bin/sh', '-c', 'echo 3'], capture_output=True).stdout == b'3\\n'\n"
        "with tempfile.TemporaryDirectory() as d: open(d + '/a', 'w').write('x')\n"
        "assert os.path.expanduser('~') == os.getcwd() and os.urandom(1)\nopen('/dev/null', 'w').write('x')"
    )


def test_a_fork_bomb_is_held_and_nothing_of_it_survives() -> None:
    bomb = "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass"
    assert not holds(bomb, Limits(1.0, 256, 4, 8, True))
    counted = (
        "import os, time\nn = 0\ntry:\n  while n < 64:\n    if os.fork() == 0: time.sleep(30); os._exit(0)\n"
        "    n += 1\nexcept OSError: pass\nassert 1 <= n < 8, n"
    )
    assert holds(counted)
    assert _left() == []


def _left() -> list[str]:
    """Processes of the sandbox that still run."""
    deadline = time.monotonic() + 20
    while True:
        listed = subprocess.run(["ps", "-eo", "ppid,args"], capture_output=True, text=True).stdout
        found = [line for line in listed.splitlines() if "_sandboxed.py" in line]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def test_a_process_that_leaves_its_session_dies_with_the_test() -> None:
    assert holds("import os, time\nif os.fork() == 0:\n  os.setsid()\n  time.sleep(60)")
    assert _left() == []


@pytest.mark.parametrize(
    "loop",
    ["while True: pass", "import time\ntime.sleep(60)", "try:\n  while 1: pass\nfinally:\n  while 1: pass"],
)
def test_an_endless_loop_ends(loop: str) -> None:
    began = time.monotonic()
    assert not holds(loop, Limits(0.5, 256, 4, 8, True))
    assert time.monotonic() - began < 15


def test_memory_is_limited() -> None:
    assert holds("try: x = bytearray(10**9)\nexcept MemoryError: pass\nelse: raise SystemExit")
    assert holds("x = bytearray(10**7)")


def test_files_outside_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    target = tmp_path / "mark"
    attempt = f"open({str(target)!r}, 'w').write('x')"
    assert not holds(attempt) and not target.exists()
    for place in ("/tmp/mark", "/dev/shm/mark", "/var/tmp/mark", "/mark"):
        assert holds(f"try: open({place!r}, 'w')\nexcept OSError: pass\nelse: raise SystemExit"), place
    os.chmod(tmp_path, 0o777)
    assert holds(attempt, Limits(60.0, 256, 4, 8, isolate=False)) and target.exists()


def test_files_inside_are_small_and_gone_afterwards() -> None:
    assert holds("open('a', 'w').write('x' * 10**6)\nassert len(open('a').read()) == 10**6")
    many = (
        "import os\nsize = 0\ntry:\n  for i in range(40):\n"
        "    with open(str(i), 'wb') as f: size += f.write(bytes(10**6))\n"
        "except OSError: pass\nassert size < 5 * 10**6, size"
    )
    assert holds(many)
    assert holds("import os\nassert os.listdir('.') == []")


def test_huge_output_is_thrown_away() -> None:
    assert holds("for _ in range(200): print('x' * 10**6)")
    began = time.monotonic()
    assert not holds("while True: print('x' * 10**6)", Limits(0.5, 256, 4, 8, True))
    assert time.monotonic() - began < 15


def test_a_flood_of_the_report_is_no_pass() -> None:
    flood = (
        "import os\nfor fd in range(3, 20):\n  try: os.write(fd, b'passed\\n' * 1000)\n"
        "  except OSError: pass\nos._exit(0)"
    )
    assert passes(flood, ["assert False"], LIMITS) == [False]


@pytest.mark.parametrize("leave", ["import os; os._exit(0)", "raise SystemExit(0)", "exit()"])
def test_leaving_early_is_no_pass(leave: str) -> None:
    assert passes(leave, ["assert False"], LIMITS) == [False]


def test_nothing_inside_is_privileged_and_other_processes_are_hidden() -> None:
    assert holds(
        "import ctypes, os\nc = ctypes.CDLL(None)\n"
        "assert c.umount2(b'/proc', 2) != 0\nassert c.unshare(0x10000000) != 0\n"
        "assert c.mount(b'none', b'/tmp', b'tmpfs', 0, None) != 0\nassert os.listdir('/proc') == []\n"
        f"try: os.kill({os.getpid()}, 0)\nexcept ProcessLookupError: pass\nelse: raise SystemExit"
    )


def test_the_standard_library_is_there() -> None:
    assert holds("import collections, decimal, heapq, itertools, json, math, random, re, threading, zlib")


# ------------------------------------------------------------------------------------------- the verifier

ADD = "Here it is:\n```python\ndef add(a, b): return a + b\n```\nDone."
SUBTRACT = "```python\ndef add(a, b): return a - b\n```"
TESTS = ["assert add(1, 2) == 3", "assert add(0, 0) == 0"]


def scores(part: UnitTests, texts: list[str], **data: Any) -> tuple[list[Score], Receipt]:
    found: list[Score] = []
    problem = Problem("Write add(a, b).", secret=Secret(data=data))

    class Call:
        async def __call__(self, root: Branch, /) -> Answer:
            found.extend(await judge(part, [Candidate(t, problem, branch=root) for t in texts]))
            return Answer("")

    engine = Engine(scripted(lambda q: {"": 1.0}))
    try:
        receipt = engine.run(Request(Call(), "q")).receipt
    finally:
        engine.close()
    assert receipt is not None
    return found, receipt


def test_code_is_scored_by_the_tests_that_it_passes() -> None:
    found, receipt = scores(UnitTests(timeout=60), [ADD, SUBTRACT, "I cannot."], tests=TESTS)
    assert [(s.value, s.steps, s.passed) for s in found] == [
        (1.0, (1.0, 1.0), True),
        (0.5, (0.0, 1.0), False),
        (0.0, (0.0, 0.0), False),
    ]
    assert receipt.by_scope["run/verify"].verified == 3 and receipt.degradations == ()


def test_a_broken_test_is_not_a_failed_answer() -> None:
    """One test is no Python, one contradicts the reference code: both are left out, and that is said."""
    tests = [*TESTS, "assert add(1, 2 == 3", "assert add(1, 1) == 3"]
    [right], receipt = scores(UnitTests(timeout=60), [ADD], tests=tests, code="def add(a, b): return a + b")
    assert right.value == 1.0 and right.passed
    assert [d.why for d in receipt.degradations] == ["2 of 4 tests are broken"]
    [none], _ = scores(UnitTests(timeout=60), [ADD], tests=["assert ("])
    assert none.value == -math.inf and none.passed is None


def test_given_tests_are_parted_by_blank_lines() -> None:
    given = UnitTests(timeout=60, tests="x = add(1, 2)\nassert x == 3\n\nassert add(2, 2) == 5")
    assert scores(given, [ADD])[0][0].steps == (1.0, 0.0)


def test_without_tests_it_says_so() -> None:
    with pytest.raises(BadInput, match="needs tests"):
        scores(UnitTests(), [ADD])


def test_the_weaker_level_is_on_the_receipt() -> None:
    [score], receipt = scores(UnitTests(timeout=60, isolation="limits"), [ADD], tests=TESTS)
    assert score.value == 1.0 and [d.what for d in receipt.degradations] == ["sandbox"]


def test_where_code_cannot_be_shut_in_it_refuses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without its namespaces nothing is run."""
    text = Path(_sandbox.INSIDE).read_text()
    broken = tmp_path / "inside.py"
    broken.write_text(text.replace("NEWUSER | NEWNS | NEWPID", "0x7fffffff"))
    monkeypatch.setattr(_sandbox, "INSIDE", broken)
    with pytest.raises(NoSandbox, match="unshare"):
        passes("open('/tmp/ran', 'w')", ["pass"], LIMITS)


def test_the_last_block_is_the_code() -> None:
    assert code_of("```python\na = 1\n```\nbetter:\n```py\na = 2\n```") == "a = 2\n"
    assert code_of("a = 3") == "a = 3"
    assert code_of("```\na = 4\n```") == "a = 4\n"


def test_only_python_is_the_code() -> None:
    """Neither what a block before it ends with, nor what it prints, is taken for it."""
    code = "```python\na = 1\n```\n"
    assert code_of(f"```bash\npip install x\n```\nThen:\n{code}") == "a = 1\n"
    assert code_of(f"{code}It prints:\n```\n1\n```\n") == "a = 1\n"
    assert code_of(f"{code}```text\n1\n```\n") == "a = 1\n"
    assert code_of("~~~Python\na = '```'\n~~~") == "a = '```'\n"
    assert code_of(code.replace("\n", "\r\n")) == "a = 1\n"
