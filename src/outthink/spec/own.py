"""A user's own parts: the classes of a file, or of a module, that the user names; never that a text names."""

from __future__ import annotations

import inspect
import sys
import traceback
from dataclasses import is_dataclass
from hashlib import blake2b
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from outthink.core.errors import BadInput
from outthink.spec.families import NOUNS, OWN, a, built_in, name_of

KINDS = "a strategy, verifier, drafter, accept rule or task"
_added: dict[str, ModuleType] = {}  # what was named -> what was imported


def add_parts(place: str) -> None:
    """Import a FILE.py, or a module by its name, and let the frozen dataclasses in it go by their names.

    What a class is follows from its methods: `problem` and `check` make a task, `lossless` and `reads_rows`
    an accept rule, `open` a drafter, an async `__call__` a strategy, and with `records` beside it a verifier.
    Its name is the class's in lower_snake form. The code is run: only whoever starts the process may name a
    place, never a request. Named twice, it is imported once. Raises BadInput: no such file, an error in it,
    no part in it, a part that is no frozen dataclass, or whose name is taken.
    """
    if place in _added:
        return
    is_file = place.endswith(".py") or "/" in place or "\\" in place
    module = _from_file(Path(place)) if is_file else _run(place, lambda: import_module(place), place)
    try:
        found = _parts_in(module, place)
        for family, kind in found:
            _check(kind, family, place)
    except BadInput:
        sys.modules.pop(module.__name__ if is_file else "", None)  # mended, it may be named again
        raise
    for family, kind in found:
        OWN.setdefault(family, {})[name_of(kind)] = kind
    _added[place] = module


def own_parts() -> dict[str, str]:
    """What was added, by the name of its file or module, with a digest: results rest on what stands in it."""
    return {Path(place).name: _digest(module) for place, module in _added.items()}


def family_of(kind: type) -> str | None:
    """The family that a class belongs to by its methods; None for none."""
    has = set(dir(kind)) | set(getattr(kind, "__dataclass_fields__", ()))
    if not inspect.iscoroutinefunction(getattr(kind, "__call__", None)):  # noqa: B004 - which one, not whether
        has.discard("__call__")
    if "open" in has and len(inspect.signature(kind.open).parameters) != 2:  # type: ignore[attr-defined]
        has.discard("open")  # a drafter's is open(self, studio)
    for family, needed in METHODS.items():
        if needed <= has:
            return family
    return None


METHODS = {  # family -> what its parts have; the first that fits
    "bench.tasks": {"problem", "check"},
    "speculate.rules": {"lossless", "reads_rows"},
    "verify": {"__call__", "records"},
    "strategy": {"__call__"},
    "speculate": {"open"},
}


def _from_file(path: Path) -> ModuleType:
    """Import a file under a name that no other module has; what stands beside it can be imported too."""
    if not path.is_file():
        raise BadInput(f"{path}: no such file: --parts takes a .py file, or the name of an installed module")
    path = path.resolve()
    name = f"_own_{path.stem}"  # no dot: it is pickled by this name, and has no package
    if name in sys.modules and getattr(sys.modules[name], "__file__", None) != str(path):
        raise BadInput(f"two files are called {path.name}: rename one")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # last: it hides nothing
    described = spec_from_file_location(name, path)
    if described is None or described.loader is None:
        raise BadInput(f"{path} is no Python file: --parts takes a .py file, or the name of a module")
    module, run = module_from_spec(described), described.loader.exec_module
    sys.modules[name] = module  # dataclasses look themselves up while they are made
    try:
        return _run(str(path), lambda: run(module) or module, path.name)
    except BaseException:
        del sys.modules[name]
        raise


def _run(where: str, importing: Any, shown: str) -> ModuleType:
    """Import; whatever goes wrong in it is said in a line, with the line of the file."""
    try:
        module: ModuleType = importing()
        return module
    except SyntaxError as error:
        raise BadInput(f"{shown} line {error.lineno}: {error.msg}") from error
    except ModuleNotFoundError as error:
        if error.name == where:
            raise BadInput(
                f"no module named {where!r}: --parts takes a .py file, or the name of an installed module"
            ) from None
        raise BadInput(f"{shown}{_line(error, where)}: {error}") from error
    except (Exception, SystemExit) as error:
        raise BadInput(f"{shown}{_line(error, where)}: {type(error).__name__}: {error}") from error


def _line(error: BaseException, where: str) -> str:
    """The last line of the file itself that an error went through."""
    lines = [at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename == where]
    return f" line {lines[-1]}" if lines else ""


def _parts_in(module: ModuleType, place: str) -> list[tuple[str, type]]:
    """(family, class) of each public class of a module, or of a package's own, that has a part's methods."""
    kinds = [kind for name, kind in vars(module).items() if isinstance(kind, type) and name[0] != "_"]
    own = [k for k in kinds if f"{k.__module__}.".startswith(f"{module.__name__}.")]
    found = [(family, kind) for kind in dict.fromkeys(own) if (family := family_of(kind)) is not None]
    if not found:
        raise BadInput(f"{place} has no part: {KINDS} is a frozen dataclass with the methods of its kind")
    return found


def _check(kind: type, family: str, place: str) -> None:
    """Refuse what cannot be configured, or told from another part."""
    name, noun = name_of(kind), NOUNS[family]
    params: Any = getattr(kind, "__dataclass_params__", None)
    if not is_dataclass(kind) or not params.frozen or "__dataclass_params__" not in vars(kind):
        raise BadInput(
            f"{place}: {kind.__name__} looks like {a(noun)}, but is no frozen dataclass: "
            "write @dataclass(frozen=True) above it, or an underscore before its name"
        )
    if name in built_in(family):
        raise BadInput(
            f"{place}: the package has {a(noun)} named {name}: call {kind.__name__} something else"
        )
    other = OWN.get(family, {}).get(name, kind)
    if other.__module__ != kind.__module__:
        raise BadInput(
            f"{place}: {a(noun)} named {name} was added before: call {kind.__name__} something else"
        )


def _digest(module: ModuleType) -> str:
    file = getattr(module, "__file__", None)
    return blake2b(Path(file).read_bytes(), digest_size=8).hexdigest() if file else ""
