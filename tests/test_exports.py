"""File name = method name = lookup name: every file of a family holds the class that its name promises."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

import pytest

import outthink

FAMILIES = ("strategy", "verify", "speculate", "speculate.rules", "bench.tasks")
FROM_PACKAGE = ("strategy", "verify", "speculate", "speculate.rules")  # ot.strategy.Vote(n=8)


def complaints(package: ModuleType, is_exporting: bool) -> list[str]:
    """What is wrong with a family: files without their class, names that the package does not give."""
    found = []
    classes = {}
    for module in iter_modules(package.__path__):
        if module.name.startswith("_") or module.ispkg:
            continue
        kind = _class_of(import_module(f"{package.__name__}.{module.name}"), module.name)
        if kind is None:
            found.append(f"{module.name}.py has no class named like it")
        elif not (kind.__doc__ or "").strip() or (kind.__doc__ or "").startswith(f"{kind.__name__}("):
            found.append(f"{kind.__name__} has no docstring of its own")
        else:
            classes[kind.__name__] = kind
    if is_exporting and classes:
        exported = getattr(package, "__all__", [name for name in dir(package) if name[0].isupper()])
        found += [f"{name} is not exported" for name in sorted(classes.keys() - set(exported))]
        found += [f"{name} is exported but not there" for name in exported if not hasattr(package, name)]
        found += [
            f"{name} is not the class in its file"
            for name, kind in classes.items()
            if name in exported and getattr(package, name, kind) is not kind
        ]
    return found


def _class_of(module: ModuleType, stem: str) -> type | None:
    """The class whose name is the file's, but for case and underscores, defined in that file."""
    for name, value in vars(module).items():
        is_named = isinstance(value, type) and name.lower() == stem.replace("_", "")
        if is_named and value.__module__ == module.__name__ and name[0].isupper() and "_" not in name:
            return value
    return None


@pytest.mark.parametrize("family", FAMILIES)
def test_every_file_of_a_family_holds_its_class(family: str) -> None:
    try:
        package = import_module(f"outthink.{family}")
    except ModuleNotFoundError:
        pytest.skip(f"no family {family} yet")
    assert complaints(package, family in FROM_PACKAGE) == []


def test_public_names_are_sorted_and_real() -> None:
    names = getattr(outthink, "__all__", None)
    if names is None:
        pytest.skip("outthink/__init__.py has no __all__ yet")
    assert list(names) == sorted(set(names))
    assert [name for name in names if not hasattr(outthink, name)] == []


GOOD = {
    "__init__.py": "from {0}.best_of_n import BestOfN\n__all__ = ['BestOfN']",
    "best_of_n.py": "class BestOfN:\n    '''Keep the best.'''",
    "_shared.py": "",
}
PLANTED = [
    ({"vote.py": "class Votes:\n    '''Votes.'''"}, "vote.py has no class named like it"),
    ({"vote.py": "from {0}.best_of_n import BestOfN as Vote"}, "vote.py has no class named like it"),
    ({"vote.py": "class Vote: ..."}, "Vote has no docstring of its own"),
    ({"vote.py": "class Vote:\n    '''Votes.'''"}, "Vote is not exported"),
    ({"__init__.py": "__all__ = ['BestOfN', 'Gone']"}, "Gone is exported but not there"),
    ({"__init__.py": "class BestOfN: ..."}, "BestOfN is not the class in its file"),
]


def _plant(name: str, files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    folder = tmp_path / name
    folder.mkdir()
    for file, text in files.items():
        (folder / file).write_text(text.replace("{0}", name))
    monkeypatch.syspath_prepend(str(tmp_path))
    for loaded in [one for one in sys.modules if one.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, loaded)
    return import_module(name)


@pytest.mark.parametrize(("files", "complaint"), PLANTED)
def test_a_planted_family_is_complained_of(
    files: dict[str, str], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = _plant(f"planted_{abs(hash(complaint))}", GOOD | files, tmp_path, monkeypatch)
    assert complaint in complaints(package, is_exporting=True)


def test_a_good_family_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert complaints(_plant("good_family", GOOD, tmp_path, monkeypatch), is_exporting=True) == []
