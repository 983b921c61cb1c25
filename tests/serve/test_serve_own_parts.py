"""A server runs the files that its operator named, and never one that a request names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from served import Served

PART = '''
from dataclasses import dataclass
from pathlib import Path

import outthink as ot

Path(__file__ + ".ran").touch()


@dataclass(frozen=True)
class {name}:
    """Write once, and say so."""

    {mark}

    async def __call__(self, root, /):
        await root.generate()
        return ot.read_off(root)
'''


def test_only_the_operator_names_files(start: Callable[..., Served], tmp_path: Path) -> None:
    ours, private, theirs = (tmp_path / f"{name}.py" for name in ("ours", "private", "theirs"))
    ours.write_text(PART.format(name="Ours", mark="remote_safe = True"))
    private.write_text(PART.format(name="Private", mark=""))
    theirs.write_text(PART.format(name="Theirs", mark="remote_safe = True"))
    server = start("--parts", str(ours), "--parts", str(private))
    assert (tmp_path / "ours.py.ran").exists()

    plain, ours_too = (server.post(seed=1, max_tokens=8, strategy=s).json() for s in ("once()", "ours()"))
    assert ours_too["choices"][0]["message"] == plain["choices"][0]["message"]
    assert server.post(seed=1, max_tokens=8, strategy="vote(n=2, inner=ours)").status_code == 200
    reply = server.post(strategy="private()")
    assert reply.status_code == 400 and "not marked remote_safe" in reply.json()["error"]["message"]

    for body in (
        {"strategy": "theirs()"}, {"model": "pocket+theirs()"}, {"strategy": f"{theirs}:theirs()"},
        {"strategy": f"vote(n=2, inner={str(theirs)!r})"}, {"parts": [str(theirs)]}, {"parts": str(theirs)},
        {"extra_body": {"parts": [str(theirs)]}}, {"verifier": f"{theirs}:theirs()", "strategy": "best_of_n"},
        {"speculate": str(theirs)}, {"strategy": "theirs.theirs()"}, {"strategy": "outthink.spec.add_parts"},
    ):  # fmt: skip
        reply = server.post(**body)
        assert reply.status_code in (400, 404), body
    assert not (tmp_path / "theirs.py.ran").exists()


@pytest.mark.parametrize("text, said", [("x = 1 / 0", "line 1: ZeroDivisionError"), ("", "has no part")])
def test_a_file_that_is_wrong_ends_it_before_it_listens(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from outthink import cli

    file = tmp_path / "wrong.py"
    file.write_text(text)
    assert cli.run(["serve", "--port", "0", "--parts", str(file)]) == 2
    assert said in capsys.readouterr().err
