"""Constrained sampling by sequential Monte Carlo: genlm-control on transformers, and `particles`."""

from __future__ import annotations

import asyncio
import math
import random
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any
from unittest import mock

import numpy as np
import torch

import outthink as ot
from benchmarks.ours import local
from benchmarks.peers.constraint import Exact, Found, Matches, Trie, Work
from benchmarks.positions import Paths
from benchmarks.report import Section, Target
from benchmarks.watching import watching
from outthink.backends.load import locate
from outthink.engine.engine import Engine
from outthink.engine.request import Request

QUESTION = "Mia has 14 coins. She buys 3 bags of 6 coins. How many coins does Mia have?"
THRESHOLD = 0.5
LONG, SMALL = Matches("[^7]*"), Matches("[0-9 +=]*")
INTRODUCTION = """Texts x in proportion to p(x) [x matches], on the same weights in float32, temperature 1,
{particles} particles, resampled (multinomial) when the effective sample size is under half; the potential
sees every token. genlm-control: `SMC(direct_token_sampler(PromptedLLM), critic)`, batches of all particles,
without and with the prompt's keys and values cached (`cache_kv`, its best documented setting). outthink:
`particles(step="", tokens=1)`. *Evaluated*: positions that the model was run on, padding left out, counted
by a wrapper around its forward; *distinct*: tokens of the prompt and of all that was written, each once.
`{pattern}`, at most {new} tokens, {rounds} rounds; medians."""
EXACT = """`{pattern}`, at most {new} tokens, {particles} particles, {runs} runs. *Z*: the mean estimate over
the exact value with its standard error (both are unbiased); *distance*: total variation between the pooled
weighted texts and the exact posterior of {texts} texts; as many draws from the exact posterior itself are
{ideal:.4f} away from it, {worst:.4f} at the 99th percentile."""


class Ours:
    """`particles` on an engine with an empty cache."""

    name = "outthink"

    def __init__(self, model: str) -> None:
        self.backend = local(ot.load(model, threads=torch.get_num_threads()).main)

    def run(self, work: Work) -> Found:
        paths = Paths()
        engine = Engine(self.backend, trace=paths)
        part = ot.strategy.Particles(
            work.constraint, work.particles, resampling="multinomial", threshold=THRESHOLD, pick="draw",
            step="", tokens=1,
        )  # fmt: skip
        sampling = ot.Sampling(temperature=1.0, max_tokens=work.new)
        began = time.perf_counter()
        with watching(self.backend) as seen:
            answer = engine.run(Request(part, work.question, seed=work.seed, sampling=sampling))
        seconds = time.perf_counter() - began
        population = [answer, *answer.others] if answer.score is not None else []
        z = math.exp(answer.estimates["log_z"])
        return Found(
            [one.text for one in population],
            [z * (one.score or 0.0) for one in population],
            seconds,
            paths.written,
            sum(seen.forward.sizes),
            0,
            len(paths.nodes),
            len(seen.forward.sizes),
        )


class Genlm:
    """genlm-control, with or without a cached prompt."""

    def __init__(self, model: str, keeps_prompt: bool, particles: int) -> None:
        from genlm.backend.llm import AsyncTransformer
        from genlm.control import PromptedLLM

        self.name = "genlm-control, cache_kv" if keeps_prompt else "genlm-control"
        self.keeps_prompt = keeps_prompt
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            given = {"device_map": "cpu", "torch_dtype": "float32"}
            self.lm = AsyncTransformer.from_name(str(locate(model)), hf_opts=given, batch_size=particles)
        self.llm = PromptedLLM(self.lm)
        self.calls: list[tuple[int, int]] = []  # positions and padding of each pass
        self.trie = Trie()
        self.drawn = 0

    def run(self, work: Work) -> Found:
        from genlm.control import SMC, direct_token_sampler

        self.lm.clear_cache()
        self.calls, self.trie, self.drawn = [], Trie(), 0
        random.seed(work.seed)
        np.random.seed(work.seed)
        torch.manual_seed(work.seed)
        self.llm.prompt_ids = list(work.prompt)
        sampler = direct_token_sampler(self.llm)

        async def go() -> Any:
            if self.keeps_prompt:
                self.lm.cache_kv(list(work.prompt))
            smc = SMC(sampler, _critic(self.llm.vocab, work.constraint))
            try:
                return await smc(
                    work.particles,
                    THRESHOLD,
                    work.new + 1,  # with the end token, which `terminate_when` adds without weighing it
                    resampling_method="multinomial",
                    terminate_when=lambda context: len(context) >= work.new,
                )
            finally:
                await smc.cleanup()

        with (
            mock.patch.object(self.lm.model, "forward", self._counted(self.lm.model.forward)),
            mock.patch.object(self.lm, "next_token_logprobs", self._asked(self.lm.next_token_logprobs)),
            mock.patch.object(sampler, "sample", self._drew(sampler.sample)),
        ):
            began = time.perf_counter()
            found = asyncio.run(go())
            seconds = time.perf_counter() - began
        return self._found(found, work, seconds)

    def _found(self, found: Any, work: Work, seconds: float) -> Found:
        texts, weights = [], []
        for context, logw in zip(found.contexts, found.log_weights, strict=True):
            tokens: list[Any] = [token for token in context if isinstance(token, bytes)]  # with `token_id`
            self.trie.add([*work.prompt, *(token.token_id for token in tokens)])
            texts.append(b"".join(tokens).decode(errors="replace"))
            weights.append(math.exp(logw) / work.particles)
        evaluated, padding = (sum(column) for column in zip(*self.calls, strict=True))
        return Found(
            texts, weights, seconds, self.drawn, evaluated, padding, len(self.trie.nodes), len(self.calls)
        )

    def _counted(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **given: Any) -> Any:
            tokens = args[0] if args else given["input_ids"]
            mask = given.get("attention_mask")
            real = tokens.numel() if mask is None else int(mask[:, -tokens.shape[1] :].sum())
            self.calls.append((real, tokens.numel() - real))
            return forward(*args, **given)

        return counted

    def _asked(self, ask: Callable[..., Any]) -> Callable[..., Any]:
        async def asked(tokens: Sequence[int], *args: Any, **given: Any) -> Any:
            self.trie.add(tokens)
            return await ask(tokens, *args, **given)

        return asked

    def _drew(self, draw: Callable[..., Any]) -> Callable[..., Any]:
        async def drew(*args: Any, **given: Any) -> Any:
            self.drawn += 1
            return await draw(*args, **given)

        return drew


def _critic(vocabulary: Any, constraint: Matches) -> Any:
    """The constraint as a potential over tokens."""
    from genlm.control import Potential

    class Critic(Potential):
        async def prefix(self, context: Any) -> float:
            text = b"".join(context).decode(errors="replace")
            return 0.0 if constraint.allows(text) else -math.inf

        complete = prefix

    return Critic(vocabulary)


def measure(model: str, quick: bool) -> list[Section]:
    """What both evaluate on longer texts, and whether both are right on short ones."""
    particles, new, rounds, runs = (4, 8, 1, 4) if quick else (16, 64, 3, 300)
    ours = Ours(model)
    prompt = tuple(ours.backend.tokenizer.chat([{"role": "user", "content": QUESTION}]))
    long = Work(QUESTION, prompt, LONG, particles, new)
    rivals = [ours, Genlm(model, False, particles), Genlm(model, True, particles)]
    cost = _cost(rivals, long, rounds)
    small = Work(QUESTION, prompt, SMALL, 16, 3)
    return [cost, _right([rivals[0], rivals[2]], small, runs)]


def _cost(rivals: Sequence[Any], work: Work, rounds: int) -> Section:
    head = ["", "drawn", "distinct", "evaluated", "evaluated / distinct", "padding", "passes", "seconds"]
    section = Section("genlm-control: positions and speed", [*head, "drawn / second"])
    section.before.append(
        INTRODUCTION.format(
            particles=work.particles, pattern=work.constraint.pattern, new=work.new, rounds=rounds
        )
    )
    ratios, rates = {}, {}
    for rival in rivals:
        rival.run(replace(work, new=4))  # warm
        found = [rival.run(replace(work, seed=seed)) for seed in range(rounds)]
        middle = sorted(found, key=lambda one: one.evaluated / one.distinct)[rounds // 2]
        ratios[rival.name] = middle.evaluated / middle.distinct
        rates[rival.name] = sum(one.drawn for one in found) / sum(one.seconds for one in found)
        seconds = sum(one.seconds for one in found) / rounds
        cells = [rival.name, middle.drawn, middle.distinct, middle.evaluated, f"{ratios[rival.name]:.2f}"]
        section.rows.append(
            [*map(str, [*cells, middle.padding, middle.passes]), f"{seconds:.2f}", f"{rates[rival.name]:.0f}"]
        )
    best = max(rate for name, rate in rates.items() if name != "outthink")
    section.targets += [
        Target("particles: evaluated / distinct", ratios["outthink"], 1.05, at_least=False),
        Target("particles: tokens drawn a second, over genlm-control's best", rates["outthink"] / best, 1.0),
    ]
    return section


def _right(rivals: Sequence[Any], work: Work, runs: int) -> Section:
    section = Section(
        "genlm-control: the posterior", ["", "Z / exact Z", "standard error", "distance", "effective draws"]
    )
    lm = rivals[1].lm
    tokenizer = rivals[0].backend.tokenizer
    exact = Exact(lm.model, work, tokenizer.decode, lm.tokenizer.eos_token_id)
    draws = runs * work.particles
    ideal, worst = _of_exact_draws(exact.posterior, draws)
    section.before.append(
        EXACT.format(
            pattern=work.constraint.pattern,
            new=work.new,
            particles=work.particles,
            runs=runs,
            texts=len(exact.posterior),
            ideal=ideal,
            worst=worst,
        )  # fmt: skip
    )
    for rival in rivals:
        found = [rival.run(replace(work, seed=seed)) for seed in range(runs)]
        ratios = [one.z / exact.z for one in found]
        error = stdev(ratios) / math.sqrt(runs)
        weights = [w for one in found for w in one.weights]
        distance = _distance(exact.posterior, [t for one in found for t in one.texts], weights)
        size = math.fsum(weights) ** 2 / math.fsum(w * w for w in weights)
        section.rows.append(
            [rival.name, f"{fmean(ratios):.3f}", f"{error:.3f}", f"{distance:.4f}", f"{size:.0f}"]
        )
        bias = abs(fmean(ratios) - 1) / error
        section.targets.append(
            Target(f"{rival.name}: |Z - exact| in standard errors", bias, 3, at_least=False)
        )
    return section


def _distance(posterior: dict[str, float], texts: Sequence[str], weights: Sequence[float]) -> float:
    """Total variation."""
    total, mass = math.fsum(weights), dict.fromkeys(posterior, 0.0)
    for text, weight in zip(texts, weights, strict=True):
        mass[text] = mass.get(text, 0.0) + weight / total
    return sum(abs(p - posterior.get(text, 0.0)) for text, p in mass.items()) / 2


def _of_exact_draws(posterior: dict[str, float], draws: int) -> tuple[float, float]:
    """How far so many exact draws are from their own distribution: the mean, and the 99th percentile."""
    shares = np.array(list(posterior.values()))
    counts = np.random.default_rng(0).multinomial(draws, shares / shares.sum(), size=500)
    away = np.abs(counts / draws - shares).sum(1) / 2
    return float(away.mean()), float(np.quantile(away, 0.99))
