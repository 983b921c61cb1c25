"""Beside transformers: prompt lookup against drafters that copy, assisted against a draft model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers

from benchmarks.contest import Rival, Score, Work, contest
from benchmarks.ours import Ours
from benchmarks.report import Section, Target
from benchmarks.speculation.model import Model
from benchmarks.speculation.sizes import Sizes
from benchmarks.speculation.streams import MOST, PLAIN
from benchmarks.speculation.totals import Faster, best
from benchmarks.theirs import Transformers
from outthink.backends.load import locate

BOUND = 1.5
ASSISTANT = "pocket-mini"
LINGER = 0.05  # seconds
LOOKUP, ASSISTED = "prompt lookup", "assisted"
OURS: dict[str, tuple[str, ...]] = {
    PLAIN: (PLAIN,),
    LOOKUP: ("copy", "trie", "hierarchy", "auto"),
    ASSISTED: ("draft_model", "draft_model(n=8)", "staged(inner=copy())"),
}
INTRODUCTION = f"""Batch 1, problems of `procedures` to their natural end, a new one each round, prompt
included; greedy, and sampled at temperature 0.8. One process; the same weights, type, threads and
drafting model ({ASSISTANT}). theirs: `generate` with prompt_lookup_num_tokens 3 and 10, and with
assistant_model at 4 tokens a draft, at 20, and with its default settings; the fastest of a kind is judged.
Their texts are the same when greedy, not when sampled: each has its own chance. After a turn of theirs
nobody computes for {LINGER} s, because torch's threads still wait busily."""


@dataclass
class Networks:
    """Their model and their assistant."""

    network: Any
    assistant: Any
    threads: int

    @classmethod
    def load(cls, model: Model) -> Networks:
        transformers.utils.logging.disable_progress_bar()
        transformers.utils.logging.set_verbosity_error()  # it warns of settings that it passes on itself
        load = transformers.AutoModelForCausalLM.from_pretrained
        big, small = (load(path, dtype=model.dtype) for path in (model.directory, locate(ASSISTANT)))
        return cls(big.eval(), small.eval(), model.threads)

    def rivals(self) -> dict[str, list[Threaded]]:
        """By kind; plain `generate` is a kind of its own."""
        return {
            PLAIN: [Threaded(self.threads, self.network, "generate")],
            LOOKUP: [
                Threaded(self.threads, self.network, f"prompt lookup, {n}", prompt_lookup_num_tokens=n)
                for n in (3, 10)
            ],
            ASSISTED: [
                self._assisted("defaults", {}),
                *(self._assisted(str(n), _always(n)) for n in (4, 20)),
            ],
        }

    def _assisted(self, name: str, settings: dict[str, Any]) -> Threaded:
        return Threaded(self.threads, self.network, f"assisted, {name}", self.assistant, settings)


def _always(tokens: int) -> dict[str, Any]:
    """A draft is of so many tokens, however it went and however sure the assistant is."""
    return {
        "num_assistant_tokens": tokens,
        "num_assistant_tokens_schedule": "constant",
        "assistant_confidence_threshold": 0.0,
    }


class Threaded(Transformers):
    """transformers with its threads and its assistant's settings, set for its own turns only."""

    linger = LINGER

    def __init__(
        self,
        threads: int,
        network: Any,
        name: str,
        assistant: Any = None,
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(network, name, assistant, **options)
        self.threads, self.settings = threads, dict(settings or {})

    def write(self, work: Work) -> int:
        if self.assistant is not None:
            self.assistant.generation_config = transformers.GenerationConfig(**self.settings)
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            return super().write(work)
        finally:
            torch.set_num_threads(before)


def measure(model: Model, sizes: Sizes) -> Section:
    """A row for everybody, greedy and sampled; judged kind by kind."""
    section = Section(
        f"Beside transformers {transformers.__version__}, {model.title}",
        ["draws", "kind", "who", "tokens/s", "over theirs of the kind"],
        before=[INTRODUCTION],
    )
    networks, problems = Networks.load(model), model.prompts("procedures")
    for draws in ("greedy", "sampled"):
        theirs = networks.rivals()
        ours = [Ours(model.engine("none" if n == PLAIN else n), n) for names in OURS.values() for n in names]

        def work(turn: int, greedy: bool = draws == "greedy") -> Work:
            return Work(problems.problem(), 1, MOST, greedy=greedy, stops=True, seed=turn)

        rivals: list[Rival[Work]] = [*ours, *(rival for kind in theirs.values() for rival in kind)]
        scores = contest(rivals, sizes.rounds, work, 2 * sizes.seconds)
        for kind, names in OURS.items():
            _judge(section, (model.title, draws, kind), names, [one.name for one in theirs[kind]], scores)
        others = [rival.name for kind in theirs.values() for rival in kind]
        drafters = [name for kind, names in OURS.items() if kind != PLAIN for name in names]
        what = f"{model.title}: {draws}, our fastest drafter over their fastest way of all"
        section.targets.append(_target(what, drafters, others, scores))
    return section


def _judge(
    section: Section,
    where: tuple[str, str, str],
    ours: Sequence[str],
    theirs: Sequence[str],
    scores: Mapping[str, Score],
) -> None:
    """Rows of one kind, and its target: our fastest over their fastest."""
    title, draws, kind = where
    rival = best({name: scores[name] for name in theirs})
    for name in theirs:
        mark = "1" if name == rival else ""
        section.rows.append([draws, kind, f"transformers, {name}", f"{scores[name].rate:.0f}", mark])
    for name in ours:
        ratio = Faster.of(scores[name], scores[rival])
        section.rows.append([draws, kind, name, f"{scores[name].rate:.0f}", str(ratio)])
    if kind != PLAIN:
        section.targets.append(_target(f"{title}: {draws}, {kind}: ours over theirs", ours, theirs, scores))


def _target(what: str, ours: Sequence[str], theirs: Sequence[str], scores: Mapping[str, Score]) -> Target:
    mine, other = (best({name: scores[name] for name in names}) for names in (ours, theirs))
    note = f"{mine} against {other}"
    return Target(what, Faster.of(scores[mine], scores[other]).total, BOUND, note=note)
