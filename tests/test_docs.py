"""What the documents show works: python snippets run, `outthink` commands run, links lead somewhere.

The snippets of one page run in order, in one process and one empty folder; so do its commands. A snippet that
cannot run here is preceded by a line `<!-- no-run: reason -->`; one that a reader saves under a name for the
commands, by `<!-- file: NAME -->`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if page.exists()]
SHELLS = ("bash", "sh", "shell", "console")
SECONDS = 240  # for one page of python, and for one command


class Snippet(NamedTuple):
    """A fenced block: its language, text and first line; `no_run` is the reason not to run it."""

    language: str
    text: str
    line: int
    no_run: str


_FENCE = re.compile(
    r"^( {0,3})(`{3,}|~{3,})[ \t]*([\w+-]*)[^\n]*\n(.*?)^ {0,3}\2[ \t]*$", re.MULTILINE | re.DOTALL
)
_NEWLINE = "\n"
_NO_RUN = re.compile(r"<!--\s*no-run:\s*(\S.*?)\s*-->\s*\Z")
_FILE = re.compile(r"<!--\s*file:\s*([\w.-]+)\s*-->\s*\Z")
_LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")


def snippets(page: str) -> list[Snippet]:
    """The fenced blocks of a page."""
    found = []
    for match in _FENCE.finditer(page):
        reason = _NO_RUN.search(page[: match.start()])
        line = page.count("\n", 0, match.start(4)) + 1
        found.append(Snippet(match[3].lower(), match[4], line, reason[1] if reason else ""))
    return found


def files(page: str) -> dict[str, str]:
    """The snippets that a reader saves as files, by name."""
    named = ((_FILE.search(page[: match.start()]), match[4]) for match in _FENCE.finditer(page))
    return {name[1]: text for name, text in named if name is not None}


def commands(page: str) -> list[str]:
    """The shell commands of a page that call `outthink`, prompts removed and continued lines joined."""
    found = []
    for snippet in snippets(page):
        if snippet.language not in SHELLS or snippet.no_run:
            continue
        for line in snippet.text.replace("\\\n", " ").splitlines():
            command = line.strip().removeprefix("$ ")
            if command.startswith("outthink "):
                found.append(command)
    return found


def python_of(page: str, name: str) -> str:
    """One program that runs the python snippets of a page in order; a traceback names page and line."""
    runs = [
        f"exec(compile({_NEWLINE * (one.line - 1) + one.text!r}, {name!r}, 'exec'), names)"
        for one in snippets(page)
        if one.language == "python" and not one.no_run
    ]
    return "\n".join(["names = {'__name__': '__main__'}", *runs]) if runs else ""


def broken_links(page: str, place: Path) -> list[str]:
    """Relative links of the page at `place` to files or headings that are not there."""
    broken = []
    for link in _LINK.findall(re.sub(r"`[^`\n]*`", "", _FENCE.sub("", page))):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (place.parent / path).resolve() if path else place
        is_lost = not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in _anchors(target)
        )
        if is_lost:
            broken.append(link)
    return broken


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#{1,6}[ \t]+(.+?)[ \t#]*$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _environment(folder: Path) -> dict[str, str]:
    """This interpreter's packages, and `outthink` on the path even where it is not installed."""
    shim = folder / ".bin" / "outthink"
    shim.parent.mkdir()
    shim.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'from outthink.cli import main; main()' \"$@\"\n")
    shim.chmod(0o755)
    path = f"{shim.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    sources = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return {**os.environ, "PATH": path, "PYTHONPATH": sources, "MPLBACKEND": "Agg", "COLUMNS": "120"}


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    """Empty if the command works, else what it said."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    return (
        ""
        if done.returncode == 0
        else f"{command[-1]!r} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    )


def run_python(page: str, name: str, folder: Path) -> str:
    """Run the python snippets of a page; what went wrong."""
    program = python_of(page, name)
    return _run([sys.executable, "-c", program], folder, _environment(folder)) if program else ""


def run_commands(page: str, folder: Path) -> str:
    """Run the `outthink` commands of a page until one fails; what went wrong."""
    environment = _environment(folder)
    for name, text in files(page).items():
        (folder / name).write_text(text)
    for command in commands(page):
        if trouble := _run(["bash", "-euo", "pipefail", "-c", command], folder, environment):
            return trouble
    return ""


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_snippets_run(page: Path, tmp_path: Path) -> None:
    trouble = run_python(page.read_text(), page.name, tmp_path)
    assert not trouble, trouble


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_run(page: Path, tmp_path: Path) -> None:
    trouble = run_commands(page.read_text(), tmp_path)
    assert not trouble, trouble


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda page: page.name
)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page.read_text(), page) == []


# ------------------------------------------------------------------------------ the checks can fail

PAGE = """
# A page

<!-- file: one.py -->
```python
x = 1
```

Text [there](other.md#second-part), [here](#a-page),
[web](https://example.org/x) and [mail](mailto:a@b.c), but `[no](link)`.

<!-- no-run: needs a server -->
```python
raise SystemExit("never run")
```

```python
assert x == 1
```

```console
$ outthink solve "2 + 2" \\
    --n 3
4
$ ls
```

~~~bash
outthink tasks   # a list
~~~
"""


def test_snippets_and_commands_are_found() -> None:
    assert [(one.language, one.line, one.no_run) for one in snippets(PAGE)] == [
        ("python", 6, ""),
        ("python", 14, "needs a server"),
        ("python", 18, ""),
        ("console", 22, ""),
        ("bash", 29, ""),
    ]
    assert [command.split() for command in commands(PAGE)] == [
        ["outthink", "solve", '"2', "+", '2"', "--n", "3"],
        ["outthink", "tasks", "#", "a", "list"],
    ]
    assert files(PAGE) == {"one.py": "x = 1\n"}


def test_good_python_runs_and_bad_python_is_reported_with_its_line(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.mkdir()
    bad.mkdir()
    assert run_python(PAGE, "page.md", good) == ""
    assert '"page.md", line 18' in run_python(PAGE.replace("x == 1", "x == 2"), "page.md", bad)


def test_a_command_that_fails_is_reported(tmp_path: Path) -> None:
    trouble = run_commands("```bash\noutthink no-such-command --at all\n```\n", tmp_path)
    assert "no-such-command" in trouble
    page = "<!-- file: mine.py -->\n```python\n1 / 0\n```\n```bash\noutthink methods --parts mine.py\n```\n"
    (tmp_path / "saved").mkdir()
    assert "mine.py line 1: ZeroDivisionError" in run_commands(page, tmp_path / "saved")


def test_lost_links_are_reported(tmp_path: Path) -> None:
    place = tmp_path / "page.md"
    place.write_text(PAGE)
    assert broken_links(PAGE, place) == ["other.md#second-part"]
    (tmp_path / "other.md").write_text("# First\n")
    assert broken_links(PAGE, place) == ["other.md#second-part"]
    (tmp_path / "other.md").write_text("## Second part!\n")
    assert broken_links(PAGE, place) == []
