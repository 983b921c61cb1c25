"""Selection: its_hub's self-consistency, best of N and resampling on samples that were recorded once."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median, pvariance
from typing import Any

import numpy as np

import outthink as ot
from benchmarks.report import Section, Target
from outthink.bench import tasks
from outthink.core.problem import Problem
from outthink.core.rng import Chance, purpose
from outthink.core.samples import Sampled
from outthink.engine.request import Request
from outthink.strategy._resampling import offspring
from outthink.text import classes

SAMPLES = """{problems} problems of {families}, {n} samples each from `{model}` at temperature 0.8, recorded
once. Both choose among the same texts. its_hub votes on what a function makes of each text: *as it comes*
is its default (the whole text), *same finals* gives it the classes of answers that outthink votes on.
*Agree*: the same class of answers (the same sample, for best of N), or one that is exactly as frequent:
its_hub draws lots among those, outthink takes the earlier. *No answer*: how often a text without any answer
was chosen: no answer is a class like others to its_hub, and none to outthink. Seconds: its public `ainfer`
with a model that answers at once, which does the same in N tasks; `select` of a strategy here."""
RESAMPLING = """{draws} resamplings of {n} particles with the weights of one population. *Bias*: the largest
distance of a particle's mean number of copies from n times its share, in standard errors; *variance*: of the
number of copies, mean over particles; *floor or ceiling*: how often every particle had its whole share."""


@dataclass(frozen=True)
class Recorded:
    """A problem's samples."""

    question: str
    samples: list[Sampled]
    scores: list[float]


def record(model: str, problems: int, n: int) -> list[Recorded]:
    """Samples of a few problems of every family."""
    engine = ot.load(model)
    found, sampling = [], ot.Sampling(max_tokens=160)
    asked = [tasks.load(name).problem("test", i) for name in ("steps", "countdown") for i in range(problems)]
    vote = ot.strategy.Vote(n=n)
    for done in engine.map(Request(vote, p, seed=i, sampling=sampling) for i, p in enumerate(asked)):
        assert done.answer is not None, done.error
        assert isinstance(done.request.problem, Problem)
        every = [done.answer, *done.answer.others]
        samples = [Sampled(one.final, one.text, one.tokens, one.logprob) for one in every]
        scores = [(one.logprob or 0.0) / max(one.tokens, 1) for one in every]
        found.append(Recorded(done.request.problem.prompt, samples, scores))
    return sorted(found, key=lambda one: one.question)


def measure(model: str, quick: bool) -> list[Section]:
    """What its_hub chooses, and what we choose."""
    logging.disable(logging.WARNING)  # it warns of every reply
    try:
        return [_selection(model, *(2, 4) if quick else (20, 16)), _resampling(200 if quick else 4000)]
    finally:
        logging.disable(logging.NOTSET)


def _selection(model: str, problems: int, n: int) -> Section:
    recorded = record(model, problems, n)
    given = {"problems": len(recorded), "families": "`steps` and `countdown`", "n": n, "model": model}
    head = ["", "problems", "agree", "no answer: its_hub", "here", "seconds: its_hub", "here"]
    section = Section("its_hub: selection", head, before=[SAMPLES.format(**given)])
    for name, theirs in (("vote, same finals", _same_finals), ("vote, as it comes", lambda one: None)):
        rows = [_vote(one, theirs(one)) for one in recorded]
        section.rows.append(_row(name, rows))
        if theirs is _same_finals:
            share = fmean(float(row.agrees) for row in rows if not row.their_none)
            title = "its_hub's vote on the same finals, where it chose an answer: agreement"
            section.targets.append(Target(title, share, 1.0))
    rows = [_best(one) for one in recorded]
    section.rows.append(_row("best of N, same scores", rows))
    agreed = fmean(float(row.agrees) for row in rows)
    section.targets.append(Target("its_hub's best of N on the same scores: agreement", agreed, 1.0))
    return section


@dataclass(frozen=True)
class Both:
    """One decision of both."""

    agrees: bool
    their_none: bool
    our_none: bool
    their_seconds: float
    our_seconds: float


def _row(name: str, rows: Sequence[Both]) -> list[str]:
    counts = (len(rows), *(sum(getattr(r, f) for r in rows) for f in ("agrees", "their_none", "our_none")))
    seconds = (median(getattr(r, f) for r in rows) for f in ("their_seconds", "our_seconds"))
    return [name, *map(str, counts), *(f"{s * 1e6:.0f} us" for s in seconds)]


def _same_finals(one: Recorded) -> Callable[[str], object]:
    """The class of a text's answer; a text without one is a class of its own, as it is in its_hub."""
    labels = classes([s.final for s in one.samples])
    by_text = {s.text: label for s, label in zip(one.samples, labels, strict=True)}
    return lambda text: by_text[text]


def _vote(one: Recorded, project: Callable[[str], object] | None) -> Both:
    from its_hub import SelfConsistency

    random.seed(0)
    picked, theirs = _timed(lambda: _infer(SelfConsistency(project), one))
    choice, ours = _timed(lambda: ot.strategy.Vote().select(one.samples))
    labels = classes([s.final for s in one.samples])
    level = {labels[i] for i in choice.level}
    chosen = one.samples[picked.selected_index].final
    return Both(
        labels[picked.selected_index] in level,
        chosen is None,
        one.samples[choice.picks[0]].final is None,
        theirs,
        ours,
    )


def _best(one: Recorded) -> Both:
    from its_hub import BestOfN
    from its_hub.api.reward_models import AbstractOutcomeRewardModel

    by_text = {s.text: score for s, score in zip(one.samples, one.scores, strict=True)}

    class Known(AbstractOutcomeRewardModel):  # `score` is abstract, and not called by the async way
        async def ascore(self, conversations: Any, **given: Any) -> list[float]:
            return [by_text[messages[-1].content] for messages in conversations]

        def score(self, conversations: Any, **given: Any) -> list[float]:
            raise NotImplementedError

    samples = [_with(s, by_text[s.text]) for s in one.samples]  # equal texts have one score, as it has it
    picked, theirs = _timed(lambda: _infer(BestOfN(Known()), one))
    choice, ours = _timed(lambda: ot.strategy.BestOfN(ot.verify.Likelihood()).select(samples))
    index = picked.selected_index
    agrees = index in choice.level or samples[index].text == samples[choice.picks[0]].text
    return Both(agrees, samples[index].final is None, samples[choice.picks[0]].final is None, theirs, ours)


def _with(sample: Sampled, score: float) -> Sampled:
    return Sampled(sample.final, sample.text, sample.tokens, sample.logprob, score)


def _infer(algorithm: Any, one: Recorded) -> Any:
    """Its algorithm on a model that says what was recorded."""
    from its_hub.api import AbstractLanguageModel

    texts = iter([s.text for s in one.samples])

    class Replay(AbstractLanguageModel):  # abstract methods that its_hub does not call here refuse
        async def agenerate_single(self, *args: Any, **given: Any) -> dict[str, str]:
            return {"role": "assistant", "content": next(texts)}

        async def agenerate(self, *args: Any, **given: Any) -> Any:
            raise NotImplementedError

        async def aevaluate(self, *args: Any, **given: Any) -> Any:
            raise NotImplementedError

        def evaluate(self, *args: Any, **given: Any) -> Any:
            raise NotImplementedError

        def generate(self, *args: Any, **given: Any) -> Any:
            raise NotImplementedError

    count = len(one.samples)
    return asyncio.run(algorithm.ainfer(Replay(), one.question, budget=count, return_response_only=False))


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    found = call()
    return found, time.perf_counter() - began


# ---- resampling


def _resampling(draws: int) -> Section:
    from its_hub.core.algorithms.particle_gibbs import ParticleFiltering, ParticleGibbs
    from its_hub.core.lms.step_generation import StepGeneration

    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(16, 0.7))
    logs, places = np.log(shares).tolist(), list(range(16))
    section = Section(
        "its_hub: resampling",
        ["scheme", "", "bias", "variance", "floor or ceiling", "seconds"],
        before=[RESAMPLING.format(draws=draws, n=len(shares))],
    )
    random.seed(0)
    np.random.seed(0)
    steps = StepGeneration(max_steps=4, step_token="\n")
    for scheme in ("systematic", "multinomial"):
        filtering = ParticleGibbs(steps, None, resampling_method=scheme)

        def theirs(turn: int, filtering: Any = filtering) -> list[int]:
            return np.bincount(filtering._resampling(places, shares, 16), minlength=16).tolist()

        def ours(turn: int, scheme: str = scheme) -> list[int]:
            return offspring(scheme, logs, 16, Chance(purpose(turn, "resample")))

        for name, resample in (("its_hub", theirs), ("outthink", ours)):
            section.rows.append(_scheme(scheme, name, resample, shares, draws))
    asked = ParticleFiltering(steps, None, resampling_method="systematic")
    section.after.append(
        'its_hub\'s `ParticleFiltering(resampling_method="systematic")` resamples by '
        f"`{asked.resampling_method.value}`; `ParticleGibbs`, measured above, does as it is told."
    )
    return section


def _scheme(
    scheme: str, name: str, resample: Callable[[int], list[int]], shares: np.ndarray, draws: int
) -> list[str]:
    began = time.perf_counter()
    counts = np.array([resample(turn) for turn in range(draws)])
    seconds = (time.perf_counter() - began) / draws
    wanted = len(shares) * shares
    part = wanted - np.floor(wanted)
    expected = part * (1 - part) if scheme == "systematic" else wanted * (1 - shares)  # variances
    errors = np.sqrt(np.maximum(expected, 1 / draws) / draws)
    bias = float(np.max(np.abs(counts.mean(0) - wanted) / errors))
    variance = fmean(pvariance(column) for column in counts.T.tolist())
    whole = np.mean(np.all((counts >= np.floor(wanted)) & (counts <= np.ceil(wanted)), axis=1))
    return [scheme, name, f"{bias:.1f}", f"{variance:.3f}", f"{whole:.3f}", f"{seconds * 1e6:.0f} us"]
