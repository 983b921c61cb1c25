"""`probe`: what an endpoint can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from typer import Argument, Option

from outthink.cli.options import Listing, takes
from outthink.cli.output import console, emit, table
from outthink.core.errors import BadInput


@dataclass(frozen=True)
class Probing(Listing):
    """The options of `probe`."""

    url: Annotated[str, Argument(help="http://HOST:PORT/v1#MODEL", show_default=False)] = ""
    tokenizer: Annotated[str | None, Option(help="The directory of the model's tokenizer.")] = None
    api: Annotated[str | None, Option(help="chat or completions.")] = None


@takes(Probing)
def probe(options: Probing) -> None:
    """Ask an endpoint what it can do: some thirty small requests whose right answers are known.

    \b
      outthink probe http://localhost:8000/v1
    """
    from outthink.backends.openai import connect

    if not options.url:
        raise BadInput("give an endpoint: outthink probe http://localhost:8000/v1")
    backend = connect(options.url, tokenizer=options.tokenizer, api=options.api)
    backend.close()
    can = [str(flag.name).lower() for flag in backend.can]
    if options.json:
        emit(backend.probe.as_dict() | {"can": can})
        return
    made = table("", "found", "what that means", left=(0, 1, 2))
    for check in backend.probe.checks:
        made.add_row(check.name, check.found, check.note)
    out = console()
    out.print(made)
    out.print(f"strategies may count on: {', '.join(can)}", markup=False)
