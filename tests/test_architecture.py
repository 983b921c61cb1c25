"""The shape of the source: layers, families, where torch, secrets and traps may be, how long things are.

Every rule reads the syntax trees under a folder and complains; each is also shown a tree that breaks it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src" / "outthink"

# A file imports from its own package and from lower layers. The longest prefix of a module's name decides.
LAYERS = {
    "core": 1,  # core.branch too: it builds on the rest of core, and everything above builds on it
    **dict.fromkeys(
        ("core.types", "core.draft", "core.receipt", "core.protocols", "core.problem", "core.errors"), 0
    ),
    **dict.fromkeys(("core.batch", "core.jobs", "core.slots"), 0),
    **dict.fromkeys(("text", "stats", "names", "spec"), 1),
    **dict.fromkeys(
        ("strategy", "verify", "decode", "speculate", "kv", "order", "adapt", "learn", "cost"), 2
    ),
    "models": 2,
    "engine": 3,
    "backends": 4,
    "testing": 5,  # above the backends, because its checks run them; no other module needs it
    **dict.fromkeys(("bench", "serve"), 6),
    "": 7,  # outthink/__init__.py
    "cli": 8,
    "__main__": 9,
}
SIDEWAYS = {("models", "kv")}  # the forward pass writes its keys and values into the store
FAMILIES = ("strategy", "verify", "decode", "speculate", "kv", "order", "adapt", "learn", "cost")
TORCH = ("backends", "models", "kv", "learn", "decode", "testing", "engine.fastpath")
SECRET = ("verify", "bench", "core.problem", "testing")
ASYNCIO = ("serve", "backends.remote")
LONGEST_FUNCTION = 60
LONGEST_FILE = 600


@dataclass(frozen=True)
class Import:
    """One imported module, by its full name, and the line; `is_typing` if only type checkers see it."""

    name: str
    line: int
    is_typing: bool


@dataclass(frozen=True)
class Module:
    """A file: its name without `outthink.`, its tree and what it imports."""

    name: str
    tree: ast.Module = field(repr=False)
    num_lines: int
    imports: tuple[Import, ...]

    def is_in(self, *places: str) -> bool:
        return any(self.name == place or self.name.startswith(f"{place}.") for place in places)

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]


def read(root: Path) -> list[Module]:
    """All modules under `root`, which plays outthink."""
    names = {_name(root, path): path for path in sorted(root.rglob("*.py"))}
    return [_module(name, path, set(names)) for name, path in names.items()]


def _name(root: Path, path: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _module(name: str, path: Path, names: set[str]) -> Module:
    text = path.read_text()
    tree = ast.parse(text)
    typing_nodes = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    imports = [
        Import(target, node.lineno, id(node) in typing_nodes)
        for node in ast.walk(tree)
        for target in _targets(node, package, names)
    ]
    return Module(name, tree, len(text.splitlines()), tuple(imports))


def _targets(node: ast.AST, package: str, names: set[str]) -> Iterator[str]:
    """The modules that a statement imports: `from outthink.a import b` is outthink.a.b if there is one."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            above = ["outthink", *package.split(".")] if package else ["outthink"]
            base = ".".join([*above[: len(above) - node.level + 1], *([base] if base else [])])
        for alias in node.names:
            full = f"{base}.{alias.name}"
            yield full if full.removeprefix("outthink.") in names and full.startswith("outthink.") else base


def _own(name: str) -> str | None:
    """An imported name without `outthink.`; None for other people's modules."""
    return (
        "" if name == "outthink" else name.removeprefix("outthink.") if name.startswith("outthink.") else None
    )


# -------------------------------------------------------------------------------------------------- rules


def layers(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        if _layer(module.name) is None:
            yield f"{module.name} has no layer: give it one in LAYERS"
            continue
        for found in module.imports:
            target = _own(found.name)
            if target is None or found.is_typing or target.partition(".")[0] == module.package != "":
                continue
            here, there = _layer(module.name), _layer(target)
            is_sideways = (module.package, target.partition(".")[0]) in SIDEWAYS
            if here is not None and there is not None and there >= here and not is_sideways:
                what = target or "outthink"
                yield f"{module.name}:{found.line} (layer {here}) imports {what} (layer {there})"


def _layer(name: str) -> int | None:
    while name not in LAYERS:
        if "." not in name:
            return None
        name = name.rpartition(".")[0]
    return LAYERS[name]


def families(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        if not module.is_in(*FAMILIES):
            continue
        for found in module.imports:
            target = (_own(found.name) or "").partition(".")[0]
            if target in (*FAMILIES, "engine") and target != module.package and not found.is_typing:
                yield f"{module.name}:{found.line}: a family imports {target}"


def core_is_plain(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        if not module.is_in("core"):
            continue
        for found in module.imports:
            top = found.name.partition(".")[0]
            if top not in sys.stdlib_module_names and not (_own(found.name) or "").startswith("core"):
                yield f"{module.name}:{found.line} imports {found.name}: core has the standard library only"


def torch_stays_below(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        for found in module.imports:
            is_torch = found.name.partition(".")[0] == "torch"
            if is_torch and not module.is_in(*TORCH) and (not found.is_typing or module.is_in("strategy")):
                yield f"{module.name}:{found.line} imports torch"


def one_module_suspends(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        if not module.is_in(*ASYNCIO):
            for found in module.imports:
                if found.name.partition(".")[0] in ("asyncio", "trio", "anyio"):
                    yield f"{module.name}:{found.line} imports {found.name}"
        if module.name == "core.tasks":
            continue
        for node in ast.walk(module.tree):
            is_trap = isinstance(node, ast.Attribute) and ast.unparse(node) == "types.coroutine"
            is_trap |= (
                isinstance(node, ast.ImportFrom) and node.module == "types" and _imports(node, "coroutine")
            )
            is_trap |= isinstance(node, ast.FunctionDef) and node.name == "__await__"
            if is_trap:
                yield f"{module.name}:{getattr(node, 'lineno', 0)} makes a trap: only core.tasks does"


def _imports(node: ast.ImportFrom, name: str) -> bool:
    return any(alias.name == name for alias in node.names)


def secrets_are_kept(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        if module.is_in(*SECRET):
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and node.attr == "secret":
                yield f"{module.name}:{node.lineno} reads .secret"


def no_cycles(modules: list[Module]) -> Iterator[str]:
    names = {module.name for module in modules}
    edges = {
        module.name: {
            target
            for found in module.imports
            if not found.is_typing and (target := _own(found.name)) in names and target != module.name
        }
        for module in modules
    }
    while leaves := [name for name, targets in edges.items() if not targets]:
        for leaf in leaves:
            del edges[leaf]
        edges = {name: targets & edges.keys() for name, targets in edges.items()}
    # What is left is in a cycle, or imports one; walking on must come back.
    if edges:
        path = [next(iter(edges))]
        while path.count(path[-1]) == 1:
            path.append(min(edges[path[-1]]))
        yield "a cycle of imports: " + " -> ".join(path[path.index(path[-1]) :])


def functions_are_annotated(modules: list[Module]) -> Iterator[str]:
    for module, function in _functions(modules):
        every = function.args
        arguments = [*every.posonlyargs, *every.args, *every.kwonlyargs, every.vararg, every.kwarg]
        missing = [a.arg for a in arguments if a and a.annotation is None and a.arg not in ("self", "cls")]
        if function.returns is None:
            missing.append("return")
        if missing:
            where = f"{module.name}:{function.lineno} {function.name}"
            yield f"{where} has no annotation for {', '.join(missing)}"


def things_are_short(modules: list[Module]) -> Iterator[str]:
    for module, function in _functions(modules):
        num_lines = (function.end_lineno or 0) - function.lineno + 1
        if num_lines > LONGEST_FUNCTION and "Long because" not in (ast.get_docstring(function) or ""):
            yield f"{module.name}:{function.lineno} {function.name} has {num_lines} lines"
    for module in modules:
        if module.num_lines > LONGEST_FILE:
            yield f"{module.name} has {module.num_lines} lines"


def _functions(modules: list[Module]) -> Iterator[tuple[Module, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield module, node


Rule = Callable[[list[Module]], Iterator[str]]
RULES: list[Rule] = [
    layers,
    families,
    core_is_plain,
    torch_stays_below,
    one_module_suspends,
    secrets_are_kept,
    no_cycles,
    functions_are_annotated,
    things_are_short,
]


# ------------------------------------------------------------------------------------------------- checks


@pytest.fixture(scope="module")
def source() -> list[Module]:
    return read(SRC)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_source_keeps_the_rule(rule: Rule, source: list[Module]) -> None:
    complaints = list(rule(source))
    assert not complaints, "\n".join(complaints)


GOOD = {
    "__init__.py": "from outthink import spec\nfrom outthink.engine.engine import Engine",
    "spec.py": "import ast\nfrom outthink.core.types import Cost",
    "core/__init__.py": "",
    "core/types.py": "if TYPE_CHECKING:\n    from outthink.core.branch import Branch",
    "core/branch.py": "from outthink.core.types import Cost",
    "core/tasks.py": "import types\n@types.coroutine\ndef trap(x: int) -> object:\n    return (yield x)",
    "strategy/vote.py": "from outthink.core.branch import Branch\nasync def vote(r: Branch, /) -> None: ...",
    "verify/exact.py": "def check(problem: object) -> str:\n    return problem.secret.reference",
    "models/llama.py": "import torch\nfrom outthink.kv.store import Store",
    "kv/store.py": "import torch",
    "engine/engine.py": "from outthink.decode import sample",
    "engine/fastpath.py": "import torch",
    "decode/sample.py": "import torch",
    "backends/local.py": "import torch\nfrom ..engine.engine import Engine\nfrom . import other",
    "backends/other.py": "",
    "cli.py": "def main() -> None:\n    import outthink",
}
_LONG = "def f() -> None:\n    '''{}'''\n" + "    x = 1\n" * 60

PLANTED = [
    (
        layers,
        {"core/types.py": "from outthink.engine.engine import Engine"},
        "core.types:1 (layer 0) imports engine.engine",
    ),
    (
        layers,
        {"engine/engine.py": "def f() -> None:\n    from outthink.backends import local"},
        "engine.engine:2",
    ),
    (layers, {"text.py": "from outthink import spec"}, "text:1 (layer 1) imports spec"),
    (layers, {"bench/runner.py": "import outthink"}, "imports outthink (layer 7)"),
    (layers, {"engine/engine.py": "from ..backends.local import x"}, "imports backends.local"),
    (layers, {"engine/engine.py": "from .. import cli"}, "imports cli"),
    (layers, {"gadgets/new.py": ""}, "gadgets.new has no layer"),
    (
        families,
        {"strategy/beam.py": "from outthink.verify.exact import check"},
        "strategy.beam:1: a family imports verify",
    ),
    (families, {"verify/run.py": "from outthink.engine import engine"}, "a family imports engine"),
    (core_is_plain, {"core/tree.py": "import numpy as np"}, "core.tree:1 imports numpy"),
    (core_is_plain, {"core/tree.py": "def f() -> None:\n    import torch"}, "core.tree:2 imports torch"),
    (torch_stays_below, {"strategy/vote.py": "from torch import nn"}, "strategy.vote:1 imports torch"),
    (
        torch_stays_below,
        {"engine/engine.py": "import torch.nn.functional as F"},
        "engine.engine:1 imports torch",
    ),
    (torch_stays_below, {"bench/run.py": "def f() -> None:\n    import torch"}, "bench.run:2 imports torch"),
    (
        one_module_suspends,
        {"strategy/vote.py": "import types\n@types.coroutine\ndef f() -> None: ..."},
        "strategy.vote:2",
    ),
    (one_module_suspends, {"engine/wait.py": "from types import coroutine"}, "engine.wait:1"),
    (
        one_module_suspends,
        {"engine/wait.py": "class A:\n    def __await__(self) -> None: ..."},
        "engine.wait:2",
    ),
    (one_module_suspends, {"engine/wait.py": "import asyncio"}, "imports asyncio"),
    (
        secrets_are_kept,
        {"strategy/vote.py": "def f(p: object) -> str:\n    return p.secret.reference"},
        "strategy.vote:2",
    ),
    (
        no_cycles,
        {
            "engine/a.py": "from outthink.engine import b",
            "engine/b.py": "def f() -> None:\n    from outthink.engine.a import x",
        },
        "engine.a -> engine.b -> engine.a",
    ),
    (
        functions_are_annotated,
        {"engine/a.py": "def f(x, *rest: int) -> int: ..."},
        "f has no annotation for x",
    ),
    (
        functions_are_annotated,
        {"engine/a.py": "class A:\n    async def f(self): ..."},
        "f has no annotation for return",
    ),
    (things_are_short, {"engine/a.py": _LONG.format("Much.")}, "f has 62 lines"),
    (things_are_short, {"engine/a.py": "x = 1\n" * 601}, "engine.a has 601 lines"),
]


def _plant(root: Path, files: dict[str, str]) -> list[Module]:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read(root)


@pytest.mark.parametrize(("rule", "files", "complaint"), PLANTED)
def test_the_rule_complains_of_planted_source(
    rule: Rule, files: dict[str, str], complaint: str, tmp_path: Path
) -> None:
    complaints = list(rule(_plant(tmp_path, GOOD | files)))
    assert any(complaint in one for one in complaints), complaints


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_has_no_complaint_about_good_source(rule: Rule, tmp_path: Path) -> None:
    files = GOOD | {"engine/a.py": _LONG.format("Long because a table.")}
    assert list(rule(_plant(tmp_path, files))) == []


def test_every_rule_is_shown_to_fail() -> None:
    assert {rule for rule, _, _ in PLANTED} == set(RULES)
