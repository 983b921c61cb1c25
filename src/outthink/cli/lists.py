"""`tasks`, `models`, `methods`: what there is."""

from __future__ import annotations

import inspect
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument

from outthink import spec
from outthink.bench.example import worked_example
from outthink.bench.summary import amount
from outthink.cli.options import Extended, takes
from outthink.cli.output import console, emit, table
from outthink.core.errors import UnknownName

if TYPE_CHECKING:
    from outthink.core.problem import Task


@dataclass(frozen=True)
class Naming(Extended):
    """A list, or one of its entries in full."""

    name: Annotated[str | None, Argument(help="Show this one in full.", show_default=False)] = None


@takes(Naming)
def tasks(options: Naming) -> None:
    """The task families; with a name, its levels and an example.

    \b
      outthink tasks steps
      outthink tasks "steps(level=8)"
    """
    if options.name is not None:
        _show_task(spec.parse(options.name, "bench.tasks"), options.json)
        return
    listed = [_task(spec.find(name, "bench.tasks")) for name in spec.names("bench.tasks")]
    if options.json:
        emit({"tasks": listed})
        return
    made = table("task", "levels", "statement", left=(0, 1, 2))
    for entry in listed:
        made.add_row(entry["name"], _range(entry["levels"]), entry["statement"])
    console().print(made)


def _task(kind: Any) -> dict[str, Any]:
    """What a task's class says of it."""
    about = {"name": kind.name, "statement": kind.statement, "levels": list(getattr(kind, "levels", ()))}
    return about | {"default": getattr(kind, "level", None), "fields": list(spec.describe(kind).fields)}


def _range(levels: list[int]) -> str:
    return f"{levels[0]} to {levels[-1]}" if levels else "-"


def _show_task(task: Task, as_json: bool) -> None:
    """One task: what it is, and a problem with its worked solution."""
    from rich.padding import Padding
    from rich.text import Text

    example = worked_example(task)
    if as_json:
        emit(_task(type(task)) | {"default": getattr(task, "level", None), "example": example._asdict()})
        return
    out, levels = console(), list(getattr(task, "levels", ()))
    out.print(Text.assemble((spec.show(task), "bold"), f"\n{task.statement}"))
    if levels:
        out.print(f"Levels {_range(levels)}, here {getattr(task, 'level', None)}.")
    out.print(Text(f"\nTest problem 0 ({example.id})", "dim"))
    out.print(Padding(Text(example.prompt), (0, 2)))
    out.print(Text("\nA worked solution", "dim"))
    out.print(Padding(Text(example.solution), (0, 2)))


@takes(Naming)
def models(options: Naming) -> None:
    """The models that come with the package; with a name, its card."""
    from outthink.backends.load import embedded, kernels

    found = embedded()
    if options.name is not None and options.name not in found:
        raise UnknownName("model", options.name, found)
    if options.name is not None and not options.json:
        _show_card(found[options.name])
        return
    listed = [_model(name, place) for name, place in found.items() if options.name in (None, name)]
    if options.json:
        emit({"models": listed, "kernels": kernels()})
        return
    made, out = table("model", "parameters", "dtype", "size", left=(0, 2)), console()
    for entry in listed:
        made.add_row(entry["name"], f"{entry['parameters']:,}", entry["dtype"], f"{amount(entry['bytes'])}B")
    out.print(made)
    for entry in listed:  # not in the table, which would fold them
        out.print(f"{entry['name']}: {entry['directory']}", style="dim", soft_wrap=True, markup=False)
    here = kernels()
    why = (
        "; the native kernels, faster, want a C compiler when outthink is installed"
        if here == "torch"
        else ""
    )
    out.print(f"forward passes in float32 and bfloat16 on this CPU: {here}{why}", style="dim")


def _model(name: str, place: Path) -> dict[str, Any]:
    """What the headers of a model's weights say."""
    from safetensors import safe_open

    parameters, kinds = 0, set()
    files = sorted(place.glob("*.safetensors"))
    for file in files:
        with safe_open(file, framework="np") as weights:
            for key in weights.keys():  # noqa: SIM118 - it is no mapping
                part = weights.get_slice(key)
                parameters += math.prod(part.get_shape())
                kinds.add(part.get_dtype())
    size = sum(file.stat().st_size for file in files)
    dtype = " ".join(sorted(kinds))
    return {"name": name, "directory": str(place), "parameters": parameters, "dtype": dtype, "bytes": size}


def _show_card(place: Path) -> None:
    """The model's card."""
    from rich.markdown import Markdown

    text = (place / "README.md").read_text(encoding="utf-8")
    console().print(Markdown(re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)))


FOLDERS = {
    "strategies": "strategy",
    "verifiers": "verify",
    "drafters": "speculate",
    "accept rules": "speculate.rules",
}
WIDE = 110  # characters; a narrower terminal has no room for fields and papers: they would fold word by word
LONG_FIELD = 24  # characters; a longer default, a prompt for instance, is shown with the method


@takes(Naming)
def methods(options: Naming) -> None:
    """The strategies, verifiers and drafters; with a name, what it does in full."""
    if options.name is not None:
        _show_method(options.name, options.json)
        return
    found = {
        title: [_method(name, family) for name in spec.names(family)] for title, family in FOLDERS.items()
    }
    from rich.text import Text

    if options.json:
        emit({title.replace(" ", "_"): entries for title, entries in found.items()})
        return
    out = console()
    titles = ["what it does", "fields", "paper"] if out.width >= WIDE else ["what it does"]
    for title, entries in found.items():
        made = table(title, *titles, left=range(4))
        for entry in entries:
            taken = ", ".join(map(_brief, entry["fields"]))
            cells = (entry["name"], entry["summary"], taken, entry["paper"])
            made.add_row(*map(Text, cells[: 1 + len(titles)]))
        out.print(made)
        out.print()
    out.print("one in full, with its fields: outthink methods NAME", style="dim")


def _method(name: str, family: str) -> dict[str, Any]:
    about = spec.describe(spec.find(name, family))
    return {"name": name, "summary": about.summary, "fields": list(about.fields), "paper": about.paper}


def _brief(field: str) -> str:
    """`name=default` where that is short."""
    name, equals, default = field.partition("=")
    return field if len(default) <= LONG_FIELD else f"{name}{equals}..."


def _show_method(name: str, as_json: bool) -> None:
    """One method: its whole docstring; a name may be several."""
    folders = [family for family in FOLDERS.values() if name in spec.names(family)]
    if not folders:
        raise UnknownName("method", name, {n for f in FOLDERS.values() for n in spec.names(f)})
    if as_json:
        emit({"methods": [_method(name, family) | {"family": family} for family in folders]})
        return
    from rich.text import Text

    for family in folders:
        kind = spec.find(name, family)
        head = f"{name}({', '.join(spec.describe(kind).fields)})"
        console().print(Text.assemble((head, "bold"), (f"   {spec.NOUNS[family]}\n", "dim")))
        console().print(Text(_flowing(inspect.getdoc(kind) or "")))
        console().print()


def _flowing(doc: str) -> str:
    """A docstring whose paragraphs of prose are one line each, for the terminal to break; what is indented or
    listed stays as it is."""
    blocks = [block.split("\n") for block in doc.split("\n\n")]
    return "\n\n".join(
        "\n".join(lines) if any(re.match(r"\s|[-*\d]", line) for line in lines) else " ".join(lines)
        for lines in blocks
    )
