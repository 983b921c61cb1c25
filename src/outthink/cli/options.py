"""What the commands take, and how it becomes the parts that a run is made of."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

from typer import Argument, Option

from outthink import spec
from outthink.core.errors import BadInput
from outthink.core.needs import check_counts
from outthink.core.types import Budget, Sampling

if TYPE_CHECKING:
    from outthink.core.problem import Problem, Task
    from outthink.core.protocols import Strategy
    from outthink.engine.engine import Engine

T = TypeVar("T")
WRITING, RUNNING, ENDPOINT = "How it writes", "How it runs", "An endpoint"  # groups of options in the help


@dataclass(frozen=True)
class Listing:
    """The options of every command."""

    json: Annotated[bool, Option("--json", help="One JSON object on stdout, everything else on stderr.")] = (
        False
    )


@dataclass(frozen=True)
class Extended(Listing):
    """The options of every command that takes parts by name."""

    parts: Annotated[
        list[str] | None,
        Option(help="Your own strategies, verifiers ...: FILE.py, which is run; repeatable.", metavar="FILE"),
    ] = None


@dataclass(frozen=True)
class Running(Extended):
    """The options of every command that runs a model."""

    model: Annotated[
        str, Option(help="A model that comes with the package, a directory, or http://HOST/v1#MODEL.")
    ] = "pocket"
    also: Annotated[
        list[str] | None, Option(help="Another model beside it, for strategies that name one; repeatable.")
    ] = None
    budget: Annotated[
        str | None,
        Option(
            help="Caps: written, positions, passes, flops, seconds, dollars.",
            metavar="written=4000,seconds=10",
        ),
    ] = None
    seed: Annotated[int, Option(help="The same seed gives the same answer.")] = 0
    temperature: Annotated[
        float | None, Option(help="0: the likeliest token. \\[default: 0.8]", rich_help_panel=WRITING)
    ] = None
    top_p: Annotated[
        float | None, Option(help="Keep this much probability. \\[default: all]", rich_help_panel=WRITING)
    ] = None
    top_k: Annotated[
        int | None, Option(help="Keep this many tokens. \\[default: all]", rich_help_panel=WRITING)
    ] = None
    min_p: Annotated[
        float | None,
        Option(help="Keep what has this share of the best. \\[default: all]", rich_help_panel=WRITING),
    ] = None
    max_tokens: Annotated[
        int | None,
        Option(
            help="The longest text of a branch. \\[default: the model's context]", rich_help_panel=WRITING
        ),
    ] = None
    stop: Annotated[
        list[str] | None, Option(help="End at this text; repeatable.", rich_help_panel=WRITING)
    ] = None
    speculate: Annotated[
        str,
        Option(help="Who drafts: auto, none, copy(n=8) ...; the same text, sooner.", rich_help_panel=RUNNING),
    ] = "none"
    warm: Annotated[
        bool, Option("--warm", help="Drafters go on from one problem to the next.", rich_help_panel=RUNNING)
    ] = False
    accept: Annotated[str, Option(help="The accept rule of drafts.", rich_help_panel=RUNNING)] = "match"
    dtype: Annotated[str, Option(help="float32, bfloat16, float64 or int8.", rich_help_panel=RUNNING)] = (
        "float32"
    )
    device: Annotated[str | None, Option(help="cpu or cuda. \\[default: cpu]", rich_help_panel=RUNNING)] = (
        None
    )
    threads: Annotated[
        int | None, Option(help="CPU threads. \\[default: measured]", rich_help_panel=RUNNING)
    ] = None
    deterministic: Annotated[
        bool, Option("--deterministic", help="The same bits in any batch.", rich_help_panel=RUNNING)
    ] = False
    max_batch: Annotated[
        int | None, Option(help="Most branches in a pass. \\[default: 256]", rich_help_panel=RUNNING)
    ] = None
    cache: Annotated[
        float | None, Option(help="GiB for keys and values. \\[default: 1]", rich_help_panel=RUNNING)
    ] = None
    prices: Annotated[
        str | None,
        Option(help="Dollars a million tokens.", metavar="INPUT,OUTPUT", rich_help_panel=ENDPOINT),
    ] = None
    tokenizer: Annotated[
        str | None, Option(help="The directory of the model's tokenizer.", rich_help_panel=ENDPOINT)
    ] = None
    api: Annotated[str | None, Option(help="chat or completions.", rich_help_panel=ENDPOINT)] = None

    def sampling(self) -> Sampling:
        """How branches write."""
        names = ("temperature", "top_p", "top_k", "min_p", "max_tokens")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return Sampling(**given, stop=tuple(self.stop or ()))

    def caps(self) -> Budget:
        """What may be spent."""
        return Budget() if self.budget is None else spec.parse_budget(self.budget)

    def load(self) -> Engine:
        """The engine. It takes a moment: check everything else first."""
        import outthink

        for place in self.parts or ():  # engines of a cluster load in processes of their own
            spec.add_parts(place)
        engine = outthink.load(
            self.model, dtype=self.dtype, speculate=self.speculate, warm=self.warm, **self._given(self.model)
        )
        engine.accept = spec.parse(self.accept, "speculate.rules")
        for name in self.also or ():
            if name in engine.places:
                raise BadInput(f"the model {name} is there already; --also is for others")
            beside = outthink.load(name, dtype=self.dtype, **self._given(name)).main
            engine.add(beside.backend, beside.tree.slots.capacity)
        return engine

    def _given(self, model: str) -> dict[str, Any]:
        """What was said of how a model runs; of endpoints, only for one, unless there is none."""
        names = ["device", "threads", "max_batch", "cache"]
        others = (name for name in (self.model, *(self.also or ())) if name != model)
        if model.startswith("http") or not any(name.startswith("http") for name in others):
            names += ["prices", "tokenizer", "api"]
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return given | {"deterministic": self.deterministic}


@dataclass(frozen=True)
class Asking(Running):
    """The options of `solve` and `explain`."""

    prompt: Annotated[
        str | None, Argument(help="The question; - reads it from stdin.", show_default=False)
    ] = None
    strategy: Annotated[str, Option(help="How to spend; see `outthink methods`.", metavar="vote(n=16)")] = (
        "greedy"
    )
    task: Annotated[str | None, Option(help="Take the question from a task; see `outthink tasks`.")] = None
    index: Annotated[int, Option(help="Which of the task's test problems.")] = 0
    level: Annotated[int | None, Option(help="How hard the task is; 0: all levels, mixed.")] = None

    def problem(self) -> Problem:
        """The question, with its task if it came from one."""
        from outthink.core.problem import Problem

        if (self.prompt is None) == (self.task is None):
            raise BadInput(
                'give a question, or --task and --index: outthink solve "..." or solve --task steps'
            )
        if self.task is not None:
            return one_task(self.task, self.level).problem("test", self.index)
        return Problem(read_prompt(self.prompt or ""))


@dataclass(frozen=True)
class Mapping(Running):
    """The options of `map`."""

    file: Annotated[str, Argument(help="A file of JSON lines, each with a prompt.", show_default=False)] = ""
    out: Annotated[str, Option(help="The folder of the journal; the same one goes on.")] = "runs/map"
    strategy: Annotated[str, Option(help="How to spend; see `outthink methods`.", metavar="vote(n=16)")] = (
        "greedy"
    )
    prompt: Annotated[str, Option(help="The field that has the prompt.")] = "prompt"
    reference: Annotated[str | None, Option(help="The field that has the right answer.")] = None
    parquet: Annotated[bool, Option("--parquet", help="Also write results.parquet.")] = False
    concurrency: Annotated[int, Option(help="Problems in work at a time.", rich_help_panel=RUNNING)] = 32
    cluster: Annotated[
        str | None, Option(help="Fan out over a cluster: ray (RAY_ADDRESS says which).", metavar="ray")
    ] = None
    workers: Annotated[
        int | None, Option(help="Engines on the cluster, of --threads cores each. \\[default: one a node]")
    ] = None


@dataclass(frozen=True)
class Benching(Running):
    """The options of `bench`."""

    task: Annotated[
        list[str] | None, Option(help="Repeatable, or a list: steps,paths. \\[default: steps]")
    ] = None
    strategies: Annotated[str, Option(help="A list parted by ;")] = "greedy; vote(n=8)"
    n: Annotated[int, Option("--n", "-n", help="Test problems of each task.")] = 100
    level: Annotated[int | None, Option(help="How hard the tasks are; 0: all levels, mixed.")] = None
    out: Annotated[str, Option(help="The folder for results, plot and report.")] = "runs/bench"
    resume: Annotated[bool, Option("--resume", help="Go on with an interrupted run.")] = False
    overwrite: Annotated[bool, Option("--overwrite", help="Begin anew where a run is.")] = False
    samples: Annotated[bool, Option("--samples", help="Keep every sample too, for `outthink replay`.")] = (
        False
    )
    concurrency: Annotated[int, Option(help="Problems in work at a time.", rich_help_panel=RUNNING)] = 32


def takes(kind: type[T]) -> Callable[[Callable[[T], None]], Callable[..., None]]:
    """A command that takes the options that a dataclass lists, and gets them as one object."""

    def decorate(command: Callable[[T], None]) -> Callable[..., None]:
        def called(**given: Any) -> None:
            for place in given.get("parts") or ():
                spec.add_parts(place)
            command(kind(**given))

        called.__name__, called.__doc__ = command.__name__, command.__doc__
        hints = get_type_hints(kind, include_extras=True)
        taken = [p.replace(annotation=hints[p.name]) for p in inspect.signature(kind).parameters.values()]
        called.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined]
        return called

    return decorate


def read_prompt(given: str) -> str:
    """The question: as given, or from stdin."""
    if given == "-" and sys.stdin is None:
        raise BadInput("there is no stdin to read the prompt from")
    if given == "-":
        try:
            given = sys.stdin.buffer.read().decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadInput(
                f"the prompt on stdin is not UTF-8: byte {error.object[error.start]:#04x} at {error.start}"
            ) from None
    if not given.strip():
        raise BadInput("the prompt is empty")
    return given


def new_file(name: str) -> Path:
    """Where a file may be written; BadInput if not, before anything is spent on what goes into it."""
    from outthink.bench.files import make_folder

    path = Path(name)
    if path.is_dir():
        raise BadInput(f"{name!r} is a folder: give the name of a file")
    make_folder(path.parent)
    return path


def one_strategy(text: str) -> spec.Named:
    """The strategy that a text configures."""
    found = spec.parse_one(text)
    check_counts(found.part)
    return found


def strategies_of(text: str) -> dict[str, Strategy]:
    """The strategies of a list, by what they were called in it."""
    found = spec.parse_named(text)
    for named in found:
        check_counts(named.part)
    return _by_name("strategy", found)


def tasks_of(names: list[str], level: int | None) -> dict[str, Task]:
    """The tasks that are named, one or several at a time, at a level."""
    found = [named for name in names for named in spec.parse_named(name, "bench.tasks")]
    return _by_name("task", found if level is None else [_at_level(named.part, level) for named in found])


def one_task(name: str, level: int | None) -> Task:
    """The task of that name, at a level."""
    found: Task = spec.parse(name, "bench.tasks")
    return found if level is None else _at_level(found, level).part


def _at_level(task: Task, level: int) -> spec.Named:
    if not hasattr(task, "level"):
        raise BadInput(f"the task {task.name} has no levels")
    moved = replace(task, level=level)  # type: ignore[type-var]
    return spec.Named(spec.show(moved), moved)


def _by_name(kind: str, found: list[spec.Named]) -> dict[str, Any]:
    """Parts by name, none twice: their results could not be told apart."""
    for place, named in enumerate(found):
        if any(named.part == other.part for other in found[:place]):
            raise BadInput(f"the {kind} {named.name} is given twice")
    return dict(found)
