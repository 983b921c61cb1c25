"""The journal of a map over a dataset: SQLite with a write-ahead log, one transaction for each answer.

    meta(key, value)                       the configuration
    results(line, mark, begun, state, record)
        state  "begun"    in work, or was when the process ended
               "failed"   an endpoint failed it: the next run tries again
               "done"     answered, or wrong in a way that another run would not mend

A process that is killed at any moment leaves every transaction that was committed; what was in work is begun
again, and `begun` counts how often.
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from outthink.bench.files import make_folder, to_json, write_whole
from outthink.core.errors import BadInput

Record = dict[str, Any]
NAME, VERSION = "journal.sqlite", 1
TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS results (
    line INTEGER PRIMARY KEY, mark TEXT NOT NULL, begun INTEGER NOT NULL, state TEXT NOT NULL, record TEXT
);
"""


class Journal:
    """The open journal of a folder. One process at a time."""

    def __init__(self, folder: Path, config: Record) -> None:
        make_folder(folder)
        self.folder = folder
        self._lock = (folder / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise BadInput(
                f"another process works in {str(folder)!r}: wait for it, or give another --out"
            ) from None
        try:
            self._open(config)
        except BaseException:
            self._lock.close()
            raise

    def _open(self, config: Record) -> None:
        path = self.folder / NAME
        try:
            self._base = sqlite3.connect(path, isolation_level=None)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=FULL")
            self._base.executescript(TABLES)
            self._agree(json.loads(to_json(config | {"version": VERSION})))
        except sqlite3.DatabaseError as error:
            raise BadInput(f"{str(path)!r} is no journal of outthink ({error}); give another --out") from None

    def _agree(self, config: Record) -> None:
        """Write the configuration down, or refuse to go on with another one."""
        before = {key: json.loads(value) for key, value in self._base.execute("SELECT key, value FROM meta")}
        for key, value in config.items():
            if before and before.get(key) != value:
                raise BadInput(
                    f"cannot go on in {str(self.folder)!r}: it was begun with {key}={before.get(key)!r}, "
                    f"now {value!r}; give the same, or another --out"
                )
        with self._base:
            self._base.execute("BEGIN")
            rows = [(key, to_json(value)) for key, value in config.items()]
            self._base.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._base.close()
        self._lock.close()

    # ---- what was done

    def marks(self) -> dict[int, str]:
        """The marks of every line that was begun."""
        return dict(self._base.execute("SELECT line, mark FROM results"))

    def done(self) -> set[int]:
        """Lines that need no more work."""
        return {line for (line,) in self._base.execute("SELECT line FROM results WHERE state = 'done'")}

    def records(self) -> Iterator[Record]:
        """All records, by line."""
        for line, begun, state, record in self._base.execute(
            "SELECT line, begun, state, record FROM results WHERE record IS NOT NULL ORDER BY line"
        ):
            yield {"line": line, "begun": begun, "state": state} | json.loads(record)

    # ---- what is being done

    def begin(self, line: int, mark: str) -> None:
        """A problem is in work from now on."""
        self._base.execute(
            "INSERT INTO results VALUES (?, ?, 1, 'begun', NULL) "
            "ON CONFLICT (line) DO UPDATE SET begun = begun + 1, state = 'begun', record = NULL",
            (line, mark),
        )

    def end(self, line: int, record: Record, is_final: bool) -> None:
        """A problem has its record. Misuse of a line that has ended already is an error of ours."""
        cursor = self._base.execute(
            "UPDATE results SET state = ?, record = ? WHERE line = ? AND state = 'begun'",
            ("done" if is_final else "failed", to_json(record), line),
        )
        if cursor.rowcount != 1:
            raise AssertionError(f"line {line} ended twice")

    # ---- the end

    def export(self, path: Path) -> None:
        """All records as JSON lines."""
        write_whole(path, b"".join(to_json(record).encode() + b"\n" for record in self.records()))

    def export_parquet(self, path: Path) -> None:
        """All records as a Parquet file, nested fields as JSON text."""
        import pyarrow
        from pyarrow import parquet

        draft = path.with_name(f".{path.name}")
        parquet.write_table(pyarrow.Table.from_pylist([_flat(r) for r in self.records()]), draft)
        draft.replace(path)


def need_parquet() -> None:
    """BadInput, before a token is spent, where Parquet files cannot be written."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise BadInput(
            "Parquet needs pyarrow: pip install 'outthink[parquet]', or leave --parquet out"
        ) from None


COLUMNS: dict[str, type] = {"line": int, "begun": int, "tokens": int, "score": float, "seconds": float}


def _flat(record: Record) -> Record:
    """A record with one type in each column: logical and actual cost side by side, the rest as JSON."""
    row: Record = {}
    for name, value in record.items():
        if name == "receipt":
            row |= {
                f"{book}_{what}": float(v)
                for book in ("logical", "actual")
                for what, v in value[book].items()
            }
            row["receipt"] = to_json(value)
        elif name in COLUMNS and value is not None:
            row[name] = COLUMNS[name](value)
        else:
            row[name] = value if value is None or isinstance(value, (bool, str)) else to_json(value)
    return row


def check_marks(journal: Journal, lines: Iterable[tuple[int, str]], path: str) -> int:
    """How many lines there are. BadInput if one that was answered has changed since."""
    before, count = journal.marks(), 0
    for number, mark in lines:
        count += 1
        if before.pop(number, mark) != mark:
            raise BadInput(f"{path!r} line {number} has changed since it was answered; give another --out")
    if before:
        raise BadInput(f"{path!r} has lost line {min(before)}, which was answered; give another --out")
    return count
