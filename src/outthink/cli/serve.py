"""`serve`: an OpenAI-compatible server."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from outthink import spec
from outthink.cli.options import RUNNING, takes
from outthink.core.errors import BadInput

if TYPE_CHECKING:
    from outthink.engine.engine import Engine

LIMITS = "What one request may take"


@dataclass(frozen=True)
class Serving:
    """The options of `serve`."""

    model: Annotated[str, Option(help="A model that comes with the package, or a directory.")] = "pocket"
    host: Annotated[str, Option(help="0.0.0.0 lets other machines in; give --keys then.")] = "127.0.0.1"
    port: Annotated[int, Option(help="0: any that is free.")] = 8000
    keys: Annotated[
        str | None, Option(help="A file of API keys, one a line as name: key.", metavar="FILE")
    ] = None
    name: Annotated[str | None, Option(help="What clients call the model. \\[default: its own name]")] = None
    max_written: Annotated[int, Option(help="Tokens.", rich_help_panel=LIMITS)] = 16384
    max_branches: Annotated[int, Option(help="Live branches.", rich_help_panel=LIMITS)] = 256
    max_seconds: Annotated[float, Option(help="Seconds.", rich_help_panel=LIMITS)] = 300.0
    max_cache: Annotated[float, Option(help="Share of the cache.", rich_help_panel=LIMITS)] = 0.5
    max_body: Annotated[int, Option(help="Bytes of a body.", rich_help_panel=LIMITS)] = 4 * 2**20
    max_running: Annotated[int, Option(help="Requests at a time.", rich_help_panel=RUNNING)] = 128
    max_waiting: Annotated[int, Option(help="Requests in line; more get 429.", rich_help_panel=RUNNING)] = 256
    grace: Annotated[
        float, Option(help="Seconds that running requests get at shutdown.", rich_help_panel=RUNNING)
    ] = 20.0
    dtype: Annotated[str, Option(help="float32, bfloat16 or int8.", rich_help_panel=RUNNING)] = "float32"
    device: Annotated[str, Option(help="cpu or cuda.", rich_help_panel=RUNNING)] = "cpu"
    threads: Annotated[int | None, Option(help="CPU threads.", rich_help_panel=RUNNING)] = None
    deterministic: Annotated[
        bool, Option("--deterministic", help="The same bits in any batch.", rich_help_panel=RUNNING)
    ] = False
    max_batch: Annotated[int, Option(help="Most branches in a pass.", rich_help_panel=RUNNING)] = 256
    speculate: Annotated[
        str, Option(help="Who drafts: auto, none, copy(n=8) ...", rich_help_panel=RUNNING)
    ] = "none"
    warm: Annotated[
        bool,
        Option("--warm", help="Drafters go on between requests of one key.", rich_help_panel=RUNNING),
    ] = False
    cache: Annotated[float, Option(help="GiB for keys and values.", rich_help_panel=RUNNING)] = 1.0
    parts: Annotated[
        list[str] | None,
        Option(help="Your own parts: FILE.py, which is run; for clients if remote_safe.", metavar="FILE"),
    ] = None
    quiet: Annotated[bool, Option("--quiet", help="No line for each request on stderr.")] = False


@takes(Serving)
def serve(options: Serving) -> None:
    """Serve a model and all strategies to any client of OpenAI's interface, with a page to try them at /.

    \b
      outthink serve
      outthink serve --host 0.0.0.0 --keys keys.txt --model ~/models/qwen3
    """
    from outthink.serve.keys import Keys, read_keys
    from outthink.serve.settings import Settings
    from outthink.serve.start import serve as run
    from outthink.serve.wire import Limits

    positive = ("max_written", "max_branches", "max_seconds", "max_body", "max_running", "max_waiting")
    low = [name for name in positive if getattr(options, name) <= 0]
    if low or not 0 < options.max_cache <= 1 or options.grace < 0:
        raise BadInput(f"{', '.join(low) or 'max_cache or grace'}: give more than 0, max_cache at most 1")
    if not 0 <= options.port <= 65535:
        raise BadInput(f"port={options.port}: give 1 to 65535, or 0 for any that is free")
    is_local = options.host in ("127.0.0.1", "localhost", "::1")
    keys = read_keys(Path(options.keys)) if options.keys is not None else Keys()
    if not is_local and options.keys is None:
        print("outthink: everybody who reaches this machine may use it: give --keys", file=sys.stderr)
    logging.basicConfig(
        level=logging.WARNING if options.quiet else logging.INFO,
        format="%(asctime)s %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    settings = Settings(
        name=options.name or "",
        limits=Limits(options.max_written, options.max_branches, options.max_seconds, options.max_cache),
        max_running=options.max_running,
        max_waiting=options.max_waiting,
        max_body=options.max_body,
        grace=options.grace,
        keys=keys,
        is_local=is_local,
    )
    load = partial(
        _load,
        tuple(options.parts or ()),
        options.model,
        dtype=options.dtype,
        device=options.device,
        threads=options.threads,
        deterministic=options.deterministic,
        max_batch=options.max_batch,
        cache=options.cache,
        speculate=options.speculate,
        warm=options.warm,
    )
    run(load, settings, options.host, options.port)


def _load(parts: tuple[str, ...], model: str, **given: Any) -> Engine:
    """The engine, in its own process, which has to know the operator's parts too."""
    import outthink

    for place in parts:
        spec.add_parts(place)
    return outthink.load(model, **given)
