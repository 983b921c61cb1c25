"""A model under test: one set of weights, and as many engines on it as there are rivals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import outthink as ot
from benchmarks.prompts import Prompts
from outthink import spec
from outthink.backends.load import load_backend
from outthink.backends.local import LocalBackend
from outthink.core.drafting import models_of
from outthink.engine.engine import Engine

SLOTS = 2**15  # of an engine's cache
WITH_MODEL = "auto with a model"
ALIASES = {WITH_MODEL: "auto(model=draft_model(n=8))"}


@dataclass
class Model:
    """What is measured on it belongs under `title`."""

    title: str
    directory: Path
    threads: int
    dtype: str  # the drafting models', too
    backend: LocalBackend

    @classmethod
    def load(cls, title: str, directory: Path, threads: int, dtype: str = "float32") -> Model:
        """With the kernels that the package chooses."""
        backend = load_backend(str(directory), dtype, threads=threads)
        return cls(title, directory, threads, dtype, backend)

    @property
    def params(self) -> int:
        """How many numbers a pass multiplies by, the head's included."""
        prices = self.backend.about.prices
        return int((prices.flops_row + prices.flops_head) / 2)

    def engine(self, speculate: str = "none") -> Engine:
        """An engine with a cache of its own on the shared weights; models that draft get the same threads."""
        engine, speculate = Engine(self._twin(), slots=SLOTS), ALIASES.get(speculate, speculate)
        for needed in models_of(None if speculate == "none" else spec.parse(speculate, "speculate")):
            backend = load_backend(needed.model, needed.dtype or self.dtype, threads=self.threads)
            backend.about = backend.about._replace(name=needed.place)
            engine.add(backend)
        engine.speculate = ot.drafter_of(speculate, engine)
        return engine

    def prompts(self, task: str = "steps") -> Prompts:
        """Problems of a task, a new one every time."""
        return Prompts(self.backend.tokenizer, task)

    def _twin(self) -> LocalBackend:
        old = self.backend
        new = LocalBackend(old.model, old.tokenizer, old.about)
        new.kind, new.draw, new.moves_are_dear = old.kind, old.draw, old.moves_are_dear
        return new
