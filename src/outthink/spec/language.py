"""Reading and showing configurations.

Text is parsed, never evaluated: literals and the names of parts, at most 4 kB and 20 levels. A name is the
name of a file in the folder of its family; which family a field takes follows from its annotation.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from math import inf
from types import NoneType
from typing import Any, NamedTuple

from outthink.core.errors import BadInput, UnknownName
from outthink.core.types import Budget, Sampling
from outthink.spec.families import NOUNS, a, find, name_of, names

LONGEST = 4096  # bytes
DEEPEST = 20  # levels
SEAMS = {  # annotation -> family
    "Strategy": "strategy",
    "Verifier": "verify",
    "Task": "bench.tasks",
    "Drafter": "speculate",
    "AcceptRule": "speculate.rules",
}
RECORDS: Mapping[str, type] = {"Sampling": Sampling, "Budget": Budget}  # annotation -> the one class it takes
LITERALS: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "str": (str,),
    "tuple": (tuple,),
    "None": (NoneType,),
}
CONSTANTS = {"inf": inf}


def parse(text: str, family: str = "strategy") -> Any:
    """The part that `text` configures; a bare name takes all defaults. Raises BadInput, one line."""
    return parse_one(text, family).part


def parse_list(text: str, family: str = "strategy") -> list[Any]:
    """The parts of a list such as `greedy; vote(n=8)`, parted by `;`, line ends or commas."""
    return [named.part for named in parse_named(text, family)]


class Named(NamedTuple):
    """A part, and its configuration as it was given, with the defaults that it spells out."""

    name: str
    part: Any


def parse_one(text: str, family: str = "strategy") -> Named:
    """The one part that `text` configures, with what it was called."""
    found = parse_named(text, family)
    if len(found) != 1:
        raise BadInput(f"{_short(text)} names {len(found)} parts; give one {NOUNS[family]}")
    return found[0]


def parse_named(text: str, family: str = "strategy") -> list[Named]:
    """The parts of a list, with what they were called in it."""
    nodes = list(_expressions(_tree(text), text))
    if not nodes:
        raise BadInput(
            f"nothing given where a {NOUNS[family]} should be; there are: {', '.join(names(family))}"
        )
    parts = [_part(node, (family,), 1) for node in nodes]
    return [Named(ast.unparse(node), part) for node, part in zip(nodes, parts, strict=True)]


def show(part: Any) -> str:
    """The configuration of a part; `parse(show(part)) == part`. Fields at their defaults are left out."""
    given = [f for f in _settable(type(part)) if not _is_default(f, getattr(part, f.name))]
    return f"{name_of(type(part))}({', '.join(f'{f.name}={_show(getattr(part, f.name))}' for f in given)})"


@dataclass(frozen=True)
class Description:
    """What a person wants to know of a part: its docstring's first sentence, its fields, its paper."""

    name: str
    summary: str
    fields: tuple[str, ...]
    paper: str


def describe(kind: type) -> Description:
    """Describe a part's class."""
    doc = textwrap.dedent(kind.__doc__ or "").strip()
    paper = re.search(r"arXiv[:\s]\s*(\d{4}\.\d{4,5})", doc)
    listed = tuple(f.name + _default(f) for f in _settable(kind))
    first = re.split(r"(?<=[^.][.!?])\s", " ".join(doc.partition("\n\n")[0].split()))[0]
    return Description(name_of(kind), first, listed, f"arXiv:{paper[1]}" if paper else "")


def _tree(text: str) -> ast.Module:
    """The syntax tree of a text that is short enough."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > LONGEST:
        raise BadInput(f"a configuration of {size} bytes is too long: at most {LONGEST}")
    try:
        with warnings.catch_warnings():  # e.g. of a strange escape in a string
            warnings.simplefilter("ignore")
            return ast.parse(textwrap.dedent(text).strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = getattr(error, "msg", None) or "nested too deep"
        raise BadInput(f"cannot read {_short(text)} as a configuration such as vote(n=8): {reason}") from None


def _expressions(tree: ast.Module, text: str) -> Iterator[ast.expr]:
    """The expressions of a list."""
    for statement in tree.body:
        if not isinstance(statement, ast.Expr):
            raise BadInput(f"cannot read {_short(text)} as a configuration such as vote(n=8)")
        if isinstance(statement.value, ast.Tuple):
            yield from statement.value.elts
        else:
            yield statement.value


def _part(node: ast.expr, families: tuple[str, ...], depth: int) -> Any:
    """A part of one of the families."""
    kind = _kind(_called(node, families), families)
    taken = _settable(kind)
    values: dict[str, Any] = {}
    for key, value in _arguments(node, name_of(kind), [f.name for f in taken]):
        if key in values:
            raise BadInput(f"{name_of(kind)}: {key} is given twice")
        values[key] = _value(value, next(f for f in taken if f.name == key), kind, depth + 1)
    return _build(kind, values)


def _called(node: ast.expr, families: tuple[str, ...]) -> str:
    """The name in `name` or `name(...)`."""
    head = node.func if isinstance(node, ast.Call) else node
    if not isinstance(head, ast.Name):
        noun = NOUNS.get(families[0], families[0])
        if isinstance(head, ast.Constant) and isinstance(head.value, str) and families[0] in NOUNS:
            known = ", ".join(names(families[0]))
            raise BadInput(f"{_source(node)} is text, not {a(noun)}: give one of {known}, without quotes")
        raise BadInput(f"{_source(node)} is no {noun}: give a name")
    return head.id


def _kind(name: str, families: tuple[str, ...]) -> type:
    """The class of that name in the first family that has it."""
    for family in families:
        if family in RECORDS and name == name_of(RECORDS[family]):
            return RECORDS[family]
        if family in NOUNS and name in names(family):
            return find(name, family)
    known = [n for f in families for n in (names(f) if f in NOUNS else [name_of(RECORDS[f])])]
    others = [a(noun) for family, noun in NOUNS.items() if name in names(family)]
    raise UnknownName(
        " or ".join(NOUNS.get(f, f.lower()) for f in families), name, known, " and ".join(others)
    )


def _arguments(node: ast.expr, name: str, known: list[str]) -> Iterator[tuple[str, ast.expr]]:
    """(field, value) of each argument; those without a name go by order."""
    if not isinstance(node, ast.Call):
        return
    if len(node.args) > len(known):
        raise BadInput(
            f"{name} takes {len(known)} fields ({', '.join(known) or 'none'}), {len(node.args)} given"
        )
    yield from zip(known, node.args, strict=False)
    for keyword in node.keywords:
        if keyword.arg not in known:
            raise _unknown_field(name, keyword.arg or "**", known)
        yield keyword.arg, keyword.value


def _unknown_field(part: str, name: str, known: list[str]) -> BadInput:
    """The error for a field that a part does not have."""
    return (
        UnknownName(f"field of {part}", name, known)
        if known
        else BadInput(f"{part} takes no fields, got {name!r}")
    )


def _value(node: ast.expr, field: Field[Any], kind: type, depth: int) -> Any:
    """The value for a field: a part where its annotation names a seam, else a literal of its type."""
    where = f"{name_of(kind)}: {field.name}"
    if depth > DEEPEST:
        raise BadInput(f"{where} is nested deeper than {DEEPEST} levels")
    families = tuple(
        SEAMS.get(w, w) for w in re.findall(r"\w+", _annotation(field)) if w in SEAMS or w in RECORDS
    )
    if not families:
        if isinstance(node, ast.Call) and not set(re.findall(r"\w+", _annotation(field))) <= set(LITERALS):
            raise BadInput(f"{where} takes a part only where it is annotated as one: {', '.join(SEAMS)}")
        return _typed(_literal(node, where, depth), field, where)
    if isinstance(node, (ast.Tuple, ast.List)):
        return tuple(_value(item, field, kind, depth + 1) for item in node.elts)
    if isinstance(node, ast.Constant) and node.value is None and "None" in _annotation(field):
        return None
    return _part(node, families, depth)


def _literal(node: ast.expr, where: str, depth: int) -> Any:
    """A number, text, True, False, None, or a tuple of these."""
    if depth > DEEPEST:
        raise BadInput(f"{where} is nested deeper than {DEEPEST} levels")
    match node:
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return tuple(_literal(item, where, depth + 1) for item in items)
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            value = _literal(inner, where, depth + 1)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return -value
        case ast.Constant(value=value) if isinstance(value, (int, float, str, NoneType)):
            return value
        case ast.Name(id=name) if name in CONSTANTS:
            return CONSTANTS[name]
    raise BadInput(f"{where}={_source(node)}: give a number, a 'text', True, False, None or a list of these")


def _typed(value: Any, field: Field[Any], where: str) -> Any:
    """The value, if its type is one that the annotation allows."""
    allowed = [w.strip() for w in re.sub(r"\[.*\]", "", _annotation(field)).split("|")]
    if any(name not in LITERALS for name in allowed):
        return value  # an annotation that only the part itself can judge
    right = any(type(value) in LITERALS[name] for name in allowed)
    if not right:
        raise BadInput(f"{where}={_cut(repr(value))}: give {' or '.join(allowed)}")
    if type(value) is int and "float" in allowed and "int" not in allowed:
        return float(str(value))  # so that 1 and 1.0 are one configuration
    return value


def _build(kind: type, values: dict[str, Any]) -> Any:
    """The part itself; what its own checks say is passed on with its name."""
    lacking = [f.name for f in _settable(kind) if f.name not in values and not _default(f)]
    if lacking:
        raise BadInput(
            f"{name_of(kind)} needs {' and '.join(lacking)}; it takes {', '.join(describe(kind).fields)}"
        )
    try:
        return kind(**values)
    except (ValueError, TypeError) as error:
        raise BadInput(f"{name_of(kind)}: {error}") from error


def _settable(kind: type) -> list[Field[Any]]:
    return [f for f in fields(kind) if f.init]


def _annotation(field: Field[Any]) -> str:
    """A field's type as it is written, whether or not the file puts annotations off."""
    if isinstance(field.type, str):
        return field.type
    return field.type.__name__ if isinstance(field.type, type) else str(field.type)


def _default(field: Field[Any]) -> str:
    """`=value` if the field has a default, else nothing."""
    if field.default is not MISSING:
        return f"={_show(field.default)}"
    return f"={_show(field.default_factory())}" if field.default_factory is not MISSING else ""


def _is_default(field: Field[Any], value: Any) -> bool:
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    return type(default) is type(value) and bool(default == value)


def _show(value: Any) -> str:
    """A value as it is written in a configuration."""
    if is_dataclass(value) and not isinstance(value, type):
        return show(value)
    if isinstance(value, (tuple, list)):
        items = ", ".join(map(_show, value))
        return f"({items},)" if len(value) == 1 else f"({items})"
    return repr(value)


def _cut(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _short(text: str) -> str:
    """The text in quotes on one line, cut where it is long."""
    return repr(_cut(text))


def _source(node: ast.expr) -> str:
    """The text of a node, for messages."""
    try:
        return _cut(ast.unparse(node).replace("\n", " "))
    except RecursionError:
        return "what is nested so deep"
