"""Parts of a user's own: named by a file, found by name wherever a name may stand, refused in a line."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import outthink as ot
from outthink import cli, spec
from outthink.bench.results import read
from outthink.core.errors import BadInput
from outthink.spec import families, own

FAMILIES = ("strategy", "verify", "speculate", "speculate.rules", "bench.tasks")
MINE = '''
from dataclasses import dataclass

import outthink as ot
from beside import WORD


@dataclass(frozen=True)
class LongestOf:
    """Sample n, keep the longest answer."""

    n: int = 4
    verifier: ot.Verifier | None = None
    verifiers: tuple[ot.Verifier, ...] = ()

    async def __call__(self, root, /):
        async def one(branch):
            await branch.generate()
            return ot.read_off(branch)

        return max(await ot.gather(*map(one, root.fork(self.n))), key=lambda a: a.tokens)


@dataclass(frozen=True)
class Brief:
    """The fewer characters, the better."""

    records = ()
    remote_safe = True
    weight: float = 1.0

    async def __call__(self, candidates):
        return [ot.Score(-self.weight * len(candidate.text)) for candidate in candidates]


@dataclass(frozen=True)
class Stutter:
    """Guess that the last token comes again."""

    def open(self, studio):
        return StutterSource()


class StutterSource:
    name, tops = "stutter", 0

    def propose(self, tip, depth, nodes):
        return ot.Draft.chain([tip.tokens[-1]], [0.3], self.name)

    def observe(self, tip, outcome):
        pass

    def end(self, tip):
        pass


@dataclass(frozen=True)
class Echo:
    """Say a word."""

    name = "echo"
    statement = "Say it."

    def problem(self, split, index):
        return ot.Problem(WORD, id=f"echo/{index}")

    def check(self, problem, final):
        return final == WORD


@dataclass(frozen=True)
class HTTPVote(LongestOf):
    """A name that begins with several capitals."""
'''


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No parts of ours before or after."""
    monkeypatch.setattr(own, "_added", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    families.OWN.clear()
    yield
    families.OWN.clear()
    for name in [name for name in sys.modules if name.startswith("_own_") or name == "beside"]:
        del sys.modules[name]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text("WORD = 'ab'\n")
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    return file


@pytest.mark.parametrize("family, name", [(f, n) for f in FAMILIES for n in spec.names(f)])
def test_what_a_part_is_follows_from_its_methods(family: str, name: str) -> None:
    """True of every part of the package, so of a user's as well."""
    assert spec.family_of(spec.find(name, family)) == family


def test_what_has_no_part_s_methods_is_none() -> None:
    assert [spec.family_of(kind) for kind in (int, ot.Budget, ot.Score, Path)] == [None] * 4


def test_they_go_by_name_wherever_a_name_may_stand(mine: Path) -> None:
    spec.add_parts(str(mine))
    part = spec.parse("vote(n=3, inner=longest_of(2, verifier=brief(weight=2), verifiers=(brief, steps())))")
    assert (part.inner.n, part.inner.verifier.weight, len(part.inner.verifiers)) == (2, 2.0, 2)
    assert spec.parse(spec.show(part)) == part
    assert type(spec.parse("stutter", "speculate")).__name__ == "Stutter"
    assert spec.parse("echo", "bench.tasks").check(None, "ab")
    assert spec.parse("http_vote(n=2)").n == 2
    assert "longest_of" in spec.names("strategy") and "vote" in spec.names("strategy")


def test_named_again_it_is_not_run_again(mine: Path) -> None:
    spec.add_parts(str(mine))
    kind = spec.find("brief", "verify")
    spec.add_parts(str(mine))
    assert spec.find("brief", "verify") is kind


def test_an_installed_module_is_named_without_py(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(mine.parent))
    mine.rename(mine.parent / "installed_parts.py")
    spec.add_parts("installed_parts")
    assert spec.find("brief", "verify").__module__ == "installed_parts"
    del sys.modules["installed_parts"]


def test_another_process_that_was_told_of_the_file_reads_them(mine: Path) -> None:
    """As an engine of a server or of a cluster does."""
    spec.add_parts(str(mine))
    sent = pickle.dumps(spec.parse("longest_of(n=7, verifier=brief())"))
    program = f"import pickle; from outthink import spec; spec.add_parts({str(mine)!r}); "
    told = subprocess.run(
        [sys.executable, "-c", f"{program}print(spec.show(pickle.loads({sent!r})))"],
        capture_output=True, text=True, env=_environment(),
    )  # fmt: skip
    assert told.stdout == "longest_of(n=7, verifier=brief())\n", told.stderr


def _environment() -> dict[str, str]:
    import os

    return os.environ | {"PYTHONPATH": str(Path(ot.__file__).parents[1])}


PART = "from dataclasses import dataclass\n"
FROZEN = PART + "@dataclass(frozen=True)\n"
CALLED = "    async def __call__(self, root): ...\n"


@pytest.mark.parametrize(
    "text, said",
    [
        (None, "mine.py: no such file: --parts takes a .py file"),
        ("def f(:\n", "mine.py line 1: "),
        ("x = 1\n\n\ny = 1 / 0\n", "mine.py line 4: ZeroDivisionError: division by zero"),
        ("import os\nimport no_such_thing\n", "mine.py line 2: No module named 'no_such_thing'"),
        ("import sys\nsys.exit(3)\n", "mine.py line 2: SystemExit: 3"),
        ("x = '\0'\n", "mine.py"),
        ("", "has no part: a strategy, verifier, drafter"),
        ("class Helper:\n    pass\n", "has no part"),
        ("from outthink.strategy import Vote\n", "has no part"),
        ("class Mine:\n" + CALLED, "Mine looks like a strategy, but is no frozen dataclass"),
        (PART + "@dataclass\nclass Mine:\n" + CALLED, "Mine looks like a strategy, but is no frozen"),
        (
            FROZEN + "class Mine:\n" + CALLED + "class Sub(Mine):\n    pass\n",
            "Sub looks like a strategy, but is no frozen dataclass",
        ),
        (FROZEN + "class Vote:\n" + CALLED, "has a strategy named vote: call Vote something else"),
    ],
)  # fmt: skip
def test_refuses_in_one_line(text: str | None, said: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text)
    for _ in range(2):  # a file that has failed does not half stay
        with pytest.raises(BadInput) as caught:
            spec.add_parts(str(file))
        assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not any(families.OWN.values()) and "_own_mine" not in sys.modules


def test_refuses_a_module_that_is_not_there() -> None:
    with pytest.raises(BadInput, match=r"no module named 'no_such': --parts takes a \.py file"):
        spec.add_parts("no_such")


def test_refuses_a_name_that_another_file_has_taken(mine: Path, tmp_path: Path) -> None:
    spec.add_parts(str(mine))
    other = tmp_path / "other.py"
    other.write_text(MINE)
    with pytest.raises(BadInput, match="named longest_of was added before"):
        spec.add_parts(str(other))
    again = tmp_path / "below" / "mine.py"
    again.parent.mkdir()
    again.write_text(MINE)
    with pytest.raises(BadInput, match=r"two files are called mine\.py"):
        spec.add_parts(str(again))


def test_a_field_that_is_not_annotated_as_a_part_says_so(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FROZEN + "class Mine:\n    judge: object\n" + CALLED)
    spec.add_parts(str(file))
    with pytest.raises(
        BadInput, match="mine: judge takes a part only where it is annotated as one: Strategy"
    ):
        spec.parse("mine(judge=steps())")


def test_a_text_never_names_a_file(mine: Path, tmp_path: Path) -> None:
    """The configuration language has no way to a file: what a request names is never imported."""
    mark = tmp_path / "was-run"
    mine.write_text(f"open({str(mark)!r}, 'w').close()\n" + MINE)
    place = str(mine)
    for text in (
        f"{place}:longest_of()", "mine.py:longest_of()", "mine.longest_of()", f"add_parts({place!r})",
        f"longest_of(parts={place!r})", f"vote(n=2, inner={place!r})", "longest_of()", repr(place),
    ):  # fmt: skip
        for family in families.NOUNS:
            with pytest.raises(BadInput):
                spec.parse(text, family)
    assert not mark.exists()
    spec.add_parts(place)
    assert mark.exists()  # so the mark would have been seen


def run(*words: str) -> int:
    return cli.run([*words, "--model", "toy", "--max-tokens", "6"])


BENCH = ("bench", "--strategies", "greedy; longest_of(n=2)", "--task", "echo", "-n", "3")


def test_a_bench_with_them_resumes_until_the_file_changes(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = (*BENCH, "--parts", str(mine), "--out", str(out))
    assert run(*words) == 0
    whole = read(out / "results.jsonl")
    lines = (out / "results.jsonl").read_bytes().splitlines(keepends=True)
    (out / "results.jsonl").write_bytes(b"".join(lines[:3]))
    own._added.clear(), families.OWN.clear(), sys.modules.pop("_own_mine")  # as in a process of its own
    assert run(*words, "--resume") == 0
    kept = [(r["strategy"], r["index"], r["text"]) for r in read(out / "results.jsonl")]
    assert kept == [(r["strategy"], r["index"], r["text"]) for r in whole] and len(kept) == 6
    mine.write_text(MINE + "# something else\n")
    capsys.readouterr()
    assert run(*words, "--resume") == 2
    assert "it was begun with parts={'mine.py': " in capsys.readouterr().err


def test_the_list_of_methods_has_them(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["methods", "longest_of"]) == 2
    assert cli.run(["methods", "longest_of", "--parts", str(mine)]) == 0
    assert "Sample n, keep the longest answer." in capsys.readouterr().out
