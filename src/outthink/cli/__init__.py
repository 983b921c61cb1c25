"""The command line: `outthink --help`.

Exit codes: 0; 2 for input that was wrong, with one line on stderr; 130 for Ctrl-C; 1 for anything else.
"""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import Annotated, Any

import typer

from outthink import __version__
from outthink.cli.bench import bench
from outthink.cli.certify import certify
from outthink.cli.demo import demo
from outthink.cli.diagnose import diagnose
from outthink.cli.lists import methods, models, tasks
from outthink.cli.map import map
from outthink.cli.output import safe
from outthink.cli.probe import probe
from outthink.cli.replay import replay
from outthink.cli.serve import serve
from outthink.cli.solve import explain, solve
from outthink.cli.store import store
from outthink.core.errors import BadInput, OutthinkError, UnknownName

HELP = """Spend compute at inference time: the best answer that a budget can buy, with a receipt.

\b
[bold]Start here[/bold]
  outthink demo

\b
[bold]One question[/bold]
  outthink solve --task steps --strategy "vote(n=16)" --budget written=4000
  outthink solve "Mia buys 3 bags of 6 coins. Mia finds 14 more. How many coins does Mia have in the end?"
  outthink explain --task steps --strategy "best_of_n(n=8, verifier=steps())"
  outthink solve --task steps --parts mine.py --strategy "mine(n=3)"

\b
[bold]For any client[/bold]
  outthink serve

\b
[bold]Which strategy is worth its tokens?[/bold]
  outthink bench --task steps --strategies "greedy; vote(n=8)" --n 200
  outthink replay samples.jsonl --selectors "vote; short(m=3)"

\b
[bold]The same text, sooner[/bold]
  outthink solve --task steps --strategy "vote(n=8)" --speculate auto
  outthink certify --speculate auto --task steps
  outthink store build past.jsonl notes.txt --out past.store
  outthink diagnose --speculate hierarchy --task procedures

\b
[bold]A whole dataset, or another server[/bold]
  outthink map questions.jsonl --out runs/answers --strategy "vote(n=8)"
  outthink probe http://localhost:8000/v1
  outthink solve "..." --model http://localhost:8000/v1#model

\b
[bold]What there is[/bold]
  outthink methods
  outthink tasks steps
  outthink models --json
"""
USAGE: type[Any] = typer.BadParameter.__mro__[1]  # the parser's own complaints, whichever parser it uses

SAID = (OutthinkError, ValueError, OSError)  # errors that are said in a line; others are ours, and show where

app = typer.Typer(
    name="outthink",
    help=HELP,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS = (solve, bench, map, serve, probe, certify, diagnose, replay, explain, demo, tasks, models, methods)
for command in COMMANDS:
    app.command(command.__name__)(command)
app.add_typer(store, name="store")


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        print(f"outthink {__version__}")
        raise typer.Exit


@app.callback()
def outthink(
    version: Annotated[
        bool,
        typer.Option("--version", help="Say which version this is.", callback=_tell_version, is_eager=True),
    ] = False,
) -> None:
    """What comes before a command."""


def main(arguments: list[str] | None = None) -> None:
    """The entry point."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run a command line; its exit code."""
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - closed by who called us
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a sign is no reason to fail
    try:
        _check(arguments)
        parser = typer.main.get_command(app)
        code = parser.main(arguments or ["--help"], prog_name="outthink", standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains as it ends
        return 1
    except Exception as error:
        if os.environ.get("OUTTHINK_TRACEBACK") or not isinstance(error, (*SAID, USAGE)):
            raise
        return _complain(error)


def _check(arguments: list[str]) -> None:
    """Refuse an unknown command, and bytes that are no text: Python hands them on as lone surrogates."""
    for word in arguments:
        try:
            word.encode("utf-8")
        except UnicodeEncodeError as error:
            byte = ord(word[error.start]) - 0xDC00
            raise BadInput(f"an argument is not UTF-8: byte {byte:#04x} at position {error.start}") from None
    known = [*(command.__name__ for command in COMMANDS), "store"]
    if arguments and arguments[0] not in known and not arguments[0].startswith("-"):
        raise UnknownName("command", arguments[0], known)


def _complain(error: Any) -> int:
    """Say in one line what was wrong; the exit code."""
    said = error.format_message() if isinstance(error, USAGE) else str(error) or type(error).__name__
    print("outthink: " + safe(" ".join(said.split())), file=sys.stderr)
    return 2 if isinstance(error, (ValueError, USAGE)) else 1
