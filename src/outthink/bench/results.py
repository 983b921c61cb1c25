"""The results of a run on disk: `bench.json` says what was run, `results.jsonl` has a line for each pair."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from outthink.bench.files import make_folder, to_json, write_json, write_whole
from outthink.bench.plan import Pair, Plan
from outthink.core.errors import BadInput

Record = dict[str, Any]
CONFIG, RESULTS = "bench.json", "results.jsonl"


def pair_of(record: Record) -> Pair:
    """Which pair a record is the result of."""
    return Pair(record["task"], record["strategy"], record["index"])


class Results:
    """The open results of one run. A line is whole or absent, whatever ends the process."""

    def __init__(self, folder: Path, plan: Plan, resume: bool = False, overwrite: bool = False) -> None:
        make_folder(folder)
        self.folder = folder
        self.plan = plan
        self.path = folder / RESULTS
        self.records: dict[Pair, Record] = {}
        if resume:
            self._take_up()
        elif not overwrite:
            _need_fresh(folder)
        _clear(folder)
        write_json(folder / CONFIG, plan.config())
        write_whole(self.path, _lines(self.records.values()))
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND)

    def __enter__(self) -> Results:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        os.close(self._file)

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing left to do."""
        return len(self.records) == len(self.plan.order())

    def append(self, record: Record) -> None:
        """Add a line, at once; on a full disk the part that fitted is taken back."""
        line = _lines([record])
        before = os.fstat(self._file).st_size
        written = 0
        try:
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError:
            os.ftruncate(self._file, before)
            raise
        self.records[pair_of(record)] = record

    def finish(self) -> list[Record]:
        """All records in the order of the plan, and the file rewritten in it."""
        order = self.plan.order()
        ordered = sorted(self.records.values(), key=lambda record: order[pair_of(record)])
        write_whole(self.path, _lines(ordered))
        return ordered

    def _take_up(self) -> None:
        """Read what an interrupted run left; refuse one with another configuration."""
        if not (self.folder / CONFIG).exists() and not self.path.exists():
            return  # nothing ran here yet: resuming is starting
        _need_same(self.folder, json.loads(to_json(self.plan.config())))
        order = self.plan.order()
        for record in read(self.path):
            if pair_of(record) not in order:
                raise BadInput(
                    f"{str(self.path)!r} has a result of {pair_of(record)}, which is no part of this run"
                )
            self.records[pair_of(record)] = record


def read(path: Path) -> list[Record]:
    """The records of a results file, a torn last line left out."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    *whole, _torn = content.split(b"\n")
    return [_record(line, f"{str(path)!r} line {number}") for number, line in enumerate(whole, 1)]


def _record(line: bytes, where: str) -> Record:
    """One line as a record."""
    try:
        record: Record = json.loads(line)
        pair_of(record)
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"{where} is no result of a bench run") from None
    return record


def _lines(records: Iterable[Record]) -> bytes:
    return b"".join(to_json(record).encode() + b"\n" for record in records)


def _need_fresh(folder: Path) -> None:
    """Refuse to write over another run."""
    if (folder / CONFIG).exists() or (folder / RESULTS).exists():
        raise BadInput(
            f"{str(folder)!r} holds a run already: add --resume to go on with it, --overwrite to begin anew"
        )


def _need_same(folder: Path, config: Record) -> None:
    """Refuse to go on with a run of another configuration."""
    try:
        before = json.loads((folder / CONFIG).read_bytes())
        differing = [key for key in config if before.get(key) != config[key]]
    except (OSError, ValueError, AttributeError) as error:
        reason = (
            error.strerror if isinstance(error, OSError) and error.errno == errno.ENOENT else "not readable"
        )
        raise BadInput(
            f"cannot resume in {str(folder)!r}: {CONFIG}: {reason}; add --overwrite to begin anew"
        ) from None
    if differing:
        key = differing[0]
        raise BadInput(
            f"cannot resume in {str(folder)!r}: it was begun with {key}={before.get(key)!r}, "
            f"now {config[key]!r}; give the same, or another --out"
        )


def _clear(folder: Path) -> None:
    """Remove what an earlier run concluded: it would contradict the results while this one lasts."""
    for name in ("summary.json", "frontier.png", "report.html"):
        (folder / name).unlink(missing_ok=True)
