"""outthink: an inference-time compute engine for language models.

import outthink as ot
lm = ot.load("pocket")
question = "Mia buys 3 bags of 6 coins. Mia finds 14 more. How many coins does Mia have in the end?"
answer = ot.run(ot.strategy.Vote(n=8), question, lm, budget=ot.Budget(written=2000))
print(answer.text, answer.receipt)
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from outthink import spec, speculate, strategy, verify
from outthink.core.branch import Branch
from outthink.core.draft import Draft
from outthink.core.errors import BadInput, OutthinkError
from outthink.core.problem import Problem
from outthink.core.protocols import Strategy, Verifier
from outthink.core.receipt import Cost, Receipt
from outthink.core.tasks import gather, offload, race
from outthink.core.types import Answer, Budget, Candidate, Sampling, Score, Want
from outthink.strategy.once import read_off

if TYPE_CHECKING:
    from outthink.core.drafting import AcceptRule, Drafter
    from outthink.engine.engine import Engine
    from outthink.engine.trace import Trace

__version__ = "0.1.0.dev0"
_MOST_THREADS = 256  # more than that, and threads cannot be made

__all__ = [
    "Answer",
    "BadInput",
    "Branch",
    "Budget",
    "Candidate",
    "Cost",
    "Draft",
    "OutthinkError",
    "Problem",
    "Receipt",
    "Sampling",
    "Score",
    "Strategy",
    "Verifier",
    "Want",
    "embedded",
    "gather",
    "load",
    "offload",
    "race",
    "read_off",
    "run",
    "speculate",
    "strategy",
    "verify",
]


def load(
    name: str = "pocket",
    *,
    dtype: str = "float32",
    device: str = "cpu",
    threads: int | None = None,
    max_batch: int = 256,
    max_rows: int = 512,
    cache: float = 1.0,
    speculate: Drafter | str = "none",
    warm: bool = False,
    trust_remote_code: bool = False,
    kernels: str | None = None,
    deterministic: bool = False,
    prices: str | None = None,
    tokenizer: str | None = None,
    api: str | None = None,
    concurrency: int = 64,
) -> Engine:
    """An engine on a model: an embedded one by name (`embedded()`), a Hugging Face-format directory, "toy",
    or OpenAI-compatible endpoints: "http://host:8000/v1#model", several parted by commas.

    `max_batch` pieces of work and `max_rows` rows go into a pass; `cache` is the most memory for keys and
    values, in GiB. `speculate` names who drafts, where a run does not say ("auto", "copy(n=8)"): the same
    text, sooner; with `warm` drafters go on from what earlier runs have taught them. `kernels` is "torch",
    "native" (C, on CPUs; no float64) or "auto", native where it can be; None is what the environment variable
    OUTTHINK_KERNELS says, else auto; the `machine` of a receipt says which ran. `deterministic` promises the
    same bits, and so the same text, in any batch, in any type, and says so on the receipt: native kernels
    keep it for nothing, torch's are run a fixed number of rows at a time, which is slow. Of endpoints:
    `prices` are dollars a million tokens as "INPUT,OUTPUT", `tokenizer` is the directory of the model's
    tokenizer if there is one here, `api` "chat" or "completions", `concurrency` the most requests at a time
    to each. Raises BadInput with one line that says what to do.
    """
    from outthink.engine.engine import Engine

    if name.startswith(("http://", "https://")):
        from outthink.backends.openai import connect

        if speculate != "none":
            raise BadInput("an endpoint's text cannot be drafted here: leave speculate out")
        if deterministic:
            raise BadInput("nobody here can promise an endpoint's bits: leave deterministic out")
        return Engine(connect(name, prices=prices, tokenizer=tokenizer, api=api, concurrency=concurrency))
    from outthink.backends.load import load_backend

    remote = {"prices": prices, "tokenizer": tokenizer, "api": api}
    if given := [key for key, value in remote.items() if value is not None]:
        raise BadInput(f"{given[0]} is said of an endpoint, and {name} is none: leave it out")
    if threads is not None and not 1 <= threads <= _MOST_THREADS:
        raise BadInput(f"threads={threads}: give 1 to {_MOST_THREADS}, or leave it out to have it measured")
    if not cache > 0:
        raise BadInput(f"cache={cache}: give the GiB that keys and values may take, more than 0")
    backend = load_backend(name, dtype, device, threads, trust_remote_code, kernels, deterministic)
    slots = max(16, int(cache * 2**30 / backend.about.prices.slot_bytes)) if name != "toy" else 65536
    engine = Engine(backend, slots=slots, max_batch=max_batch, max_rows=max_rows)
    engine.speculate, engine.warm = drafter_of(speculate, engine), warm
    return engine


def run(
    strategy: Any,
    problem: Problem | str,
    lm: Engine,
    *,
    budget: Budget | str | None = None,
    seed: int = 0,
    sampling: Sampling | None = None,
    speculate: Drafter | str | None = None,
    accept: AcceptRule | None = None,
    warm: bool | None = None,
    trace: Trace | None = None,
) -> Answer:
    """Run a strategy on a problem until it has its answer or the budget ends; the receipt is on the answer.

    The strategy is a part or any coroutine function of a branch, or what the command line would be given:
    "vote(n=8)"; so may the budget be, "written=4000,seconds=10". The same strategy, seed and sampling give
    the same answer, but for close draws where torch computes in float32 or bfloat16 and another batch
    changes the last bits of a logit. `speculate` names who drafts (None: as the model was loaded, "none":
    nobody), `accept` the accept rule, by default `match`, which leaves the text as it is; `warm` lets
    drafters go on from earlier runs (None: as the model was loaded), which changes neither the text nor the
    logical cost. Threads that share an engine take turns. Raises what the strategy raises.
    """
    from outthink.engine.request import Request
    from outthink.engine.trace import Trace

    if not hasattr(lm, "places"):
        raise BadInput(f"lm={lm!r} is no engine: give ot.load({lm!r})")
    part = spec.parse(strategy) if isinstance(strategy, str) else strategy
    caps = Budget() if budget is None else spec.parse_budget(budget) if isinstance(budget, str) else budget
    request = Request(part, problem, caps, seed, Sampling() if sampling is None else sampling)
    with lm.alone:
        before, lm.trace = lm.trace, trace or Trace()
        try:
            drafter = None if speculate is None else drafter_of(speculate, lm) or "none"
            return lm.run(replace(request, speculate=drafter, accept=accept, warm=warm))
        finally:
            lm.trace = before


def drafter_of(named: Drafter | str, lm: Engine) -> Drafter | None:
    """The drafter of that name, the models that it drafts with loaded beside the engine's own."""
    from outthink.backends.load import load_backend
    from outthink.core.drafting import models_of
    from outthink.engine.place import Place

    drafter = None if named == "none" else spec.parse(named, "speculate") if isinstance(named, str) else named
    for needed in models_of(drafter):
        if needed.place not in lm.places:
            backend = load_backend(needed.model, needed.dtype or getattr(lm.main.backend, "dtype", "float32"))
            backend.about = backend.about._replace(name=needed.place)
            lm.add(backend)
    if getattr(drafter, "is_choosy", False):  # what passes take is measured now, not while somebody waits
        for place in (lm.main, *(lm.places[needed.place] for needed in models_of(drafter))):
            if isinstance(place, Place):
                place.curve()
    return drafter


def embedded() -> dict[str, str]:
    """The embedded models: name -> directory."""
    from outthink.backends import load as backends

    return {name: str(path) for name, path in backends.embedded().items()}
