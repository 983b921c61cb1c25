"""`store`: datastores of texts that the drafter `store` looks things up in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from outthink.cli.options import Listing, takes
from outthink.cli.output import amount, console, emit
from outthink.core.errors import BadInput

CHUNK = 1 << 16  # characters that are tokenized at a time

store = typer.Typer(
    help="Datastores for the drafter store(path=...): build one, or look what is in it.", no_args_is_help=True
)


@dataclass(frozen=True)
class Building(Listing):
    """The options of `store build`."""

    files: Annotated[
        list[str], Argument(help="Plain text, or JSON lines with a text each.", show_default=False)
    ] = ()  # type: ignore[assignment]
    out: Annotated[str, Option(help="The datastore; one that is there is replaced when all is done.")] = ""
    model: Annotated[str, Option(help="The model that is to be drafted for.")] = "pocket"
    field: Annotated[str, Option(help="The field of JSON lines that has the text.")] = "text"


@dataclass(frozen=True)
class Looking(Listing):
    """The options of `store info`."""

    file: Annotated[str, Argument(help="A datastore.", show_default=False)] = ""
    model: Annotated[str | None, Option(help="Is it of this model's tokenizer?")] = None


def build(options: Building) -> None:
    """Build a datastore from files: what is written there is guessed when it comes again.

    \b
      outthink store build past.jsonl notes.txt --out past.store
      outthink solve --task steps --speculate "store(path='past.store')"
    """
    from outthink.backends.load import load_tokenizer
    from outthink.speculate import _suffixes

    if not options.files or not options.out:
        raise BadInput("give files and where to: outthink store build notes.txt --out notes.store")
    files = [_readable(name) for name in options.files]
    if not (folder := Path(options.out).parent).is_dir():
        raise BadInput(f"there is no folder {folder}: No such file or directory; make it first")
    tokenizer, vocab = load_tokenizer(options.model)
    with _Bar(sum(path.stat().st_size for path in files)) as bar:
        texts = (
            _tokens(tokenizer, pieces) for path in files for pieces in _texts(path, options.field, bar.read)
        )
        size = _suffixes.build(options.out, _then(texts, bar.sorting), tokenizer, vocab)
    _tell(options.out, _suffixes.open_suffixes(options.out), size, options)


def info(options: Looking) -> None:
    """Say what is in a datastore, after checking all of it.

    \b
      outthink store info past.store --model pocket
    """
    from outthink.backends.load import load_tokenizer
    from outthink.speculate import _suffixes

    if not options.file:
        raise BadInput("give a datastore: outthink store info past.store")
    found = _suffixes.open_suffixes(options.file)
    if options.model is not None:
        tokenizer, vocab = load_tokenizer(options.model)
        if _suffixes.fingerprint(tokenizer, vocab) != found.tokenizer:
            raise BadInput(
                f"the datastore {options.file} is of another tokenizer than that of {options.model}"
            )
    _tell(options.file, found, Path(options.file).stat().st_size, options)


store.command("build")(takes(Building)(build))
store.command("info")(takes(Looking)(info))


def _readable(name: str) -> Path:
    path = Path(name)
    if not path.is_file():
        raise BadInput(f"{name} is not a file")
    return path


def _texts(path: Path, field: str, read: Callable[[int], None]) -> Iterator[Iterator[str]]:
    """The texts of a file, each in pieces that end with a line: one, or one for every line of JSON."""
    with path.open("rb") as file:
        if path.suffix not in (".jsonl", ".json"):
            yield _pieces(path, file, read)
            return
        for number, line in enumerate(file, 1):
            read(len(line))
            if line.strip():
                yield iter([_field(path, number, line, field)])


def _pieces(path: Path, lines: Any, read: Callable[[int], None]) -> Iterator[str]:
    piece, size = [], 0
    for number, line in enumerate(lines, 1):
        piece.append(_utf8(path, number, line))
        size += len(line)
        read(len(line))
        if size >= CHUNK:
            yield "".join(piece)
            piece, size = [], 0
    yield "".join(piece)


def _field(path: Path, number: int, line: bytes, field: str) -> str:
    try:
        value = json.loads(_utf8(path, number, line))
    except ValueError as error:
        raise BadInput(f"{path}:{number} is not a line of JSON: {error}") from None
    if not isinstance(value, dict) or not isinstance(value.get(field), str):
        raise BadInput(f"{path}:{number} has no text in the field {field!r}: name it with --field")
    text: str = value[field]
    return text


def _utf8(path: Path, number: int, line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}:{number} is not UTF-8: byte {line[error.start]:#04x}") from None


def _tokens(tokenizer: Any, pieces: Iterator[str]) -> list[int]:
    found: list[int] = []
    for piece in pieces:
        found += tokenizer.encode(piece, special=False)
    return found


def _then(texts: Iterator[list[int]], done: Callable[[], None]) -> Iterator[list[int]]:
    """The texts, and a call when they have all been taken."""
    yield from texts
    done()


def _tell(name: str, found: Any, size: int, options: Listing) -> None:
    facts = {
        "file": name,
        "texts": found.texts,
        "tokens": found.size - found.texts,
        "vocab": found.vocab,
        "tokenizer": found.tokenizer,
        "bytes": size,
    }
    if options.json:
        emit(facts)
        return
    said = f"{facts['texts']:,} texts, {facts['tokens']:,} tokens, {amount(size)}B"
    console().print(f"{name}: {said}; tokenizer {found.tokenizer}, vocabulary {found.vocab}", markup=False)


class _Bar:
    """How far the reading is, on stderr: bytes, speed, time left."""

    def __init__(self, size: int) -> None:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns = (
            "{task.description}",
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, console=console(as_json=True), transient=True)
        self.task = self.progress.add_task("reading", total=size)

    def __enter__(self) -> _Bar:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def read(self, size: int) -> None:
        """So many bytes more."""
        self.progress.advance(self.task, size)

    def sorting(self) -> None:
        """All is read."""
        self.progress.update(self.task, description="sorting")
