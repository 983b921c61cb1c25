"""Writing step by step: what particles and chains are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from outthink.core.branch import Branch
from outthink.core.tasks import gather
from outthink.core.types import Answer, Sampling
from outthink.text import final_answer


@dataclass(slots=True, eq=False)
class Particle:
    """A text under construction with its weight.

    `logw` is not normalised: over a population the weights add up to the estimate of what is integrated.
    """

    branch: Branch
    logw: float = 0.0
    logpsi: float = 0.0  # log-potential of the text so far; of the empty text it is 0
    ends: tuple[int, ...] = ()  # how long the branch was after each step, in tokens
    finish: str = ""  # why it ended; an ended particle stays as it is
    cut: int | None = None  # characters of the text, where a stop text is not part of it
    origin: int = 0  # which of the first particles it comes from

    @property
    def text(self) -> str:
        return self.branch.text()[: self.cut]

    def answer(self) -> Answer:
        """The text so far as an answer."""
        text, size = self.text, len(self.branch)
        return Answer(text, final_answer(text).value, finish=self.finish, tokens=size, branch=self.branch)

    def fork(self) -> Particle:
        """A copy on a branch of its own."""
        return replace(self, branch=self.branch.fork()[0])


@dataclass(frozen=True)
class Writer:
    """Writes one step of a text at a time: what all steps give together is what one `generate` gives.

    A step ends after `step` once it has content (with `step=""` nowhere), and after `tokens` tokens at the
    latest. The text ends at the end token, at the sampling's stops, or at its `max_tokens`.
    """

    sampling: Sampling
    step: str
    tokens: int | None
    begin: int  # tokens on the branch before the text
    given: int  # characters before the text

    @classmethod
    def on(cls, root: Branch, step: str, tokens: int | None) -> Writer:
        """A writer of texts that begin at `root`."""
        stops = (*root.sampling.stop, step) if step else root.sampling.stop
        sampling = replace(root.sampling, stop=stops, keep_stop=True)
        return cls(sampling, step, tokens, len(root), len(root.text()))

    async def all(self, particles: Sequence[Particle]) -> None:
        """One more step on each, side by side."""
        await gather(*(self.one(p) for p in particles))

    async def one(self, particle: Particle) -> None:
        """One more step on a particle that has not ended."""
        branch, start, has_content = particle.branch, len(particle.branch), False
        while not has_content:
            made = await branch.generate(self._until(branch, start))
            particle.finish = self._end(particle, made.reason, made.stopped_on)
            at_step = made.reason == "stop" and made.stopped_on == self.step
            has_content = not at_step or bool(particle.finish) or bool(branch.text(start).strip())
            has_content |= self.tokens is not None and len(branch) - start >= self.tokens
        particle.ends = (*particle.ends, len(branch))

    def _until(self, branch: Branch, start: int) -> Sampling:
        """How a step that began at `start` goes on: without caps as all others; the context is one anyway."""
        room = self.room(branch)
        if self.tokens is None and self.sampling.max_tokens is None and room > 0:
            return self.sampling
        left = math.inf if self.tokens is None else start + self.tokens - len(branch)
        return replace(self.sampling, max_tokens=int(min(room, left)))

    async def whole(self, particle: Particle) -> None:
        """All steps to the end."""
        while not particle.finish:
            await self.one(particle)

    def room(self, branch: Branch) -> int:
        """How many tokens the text may still have."""
        context = branch.place.context - branch.cursor.length
        most = self.sampling.max_tokens
        return context if most is None else min(context, most + self.begin - len(branch))

    def _end(self, particle: Particle, reason: str, stopped_on: str) -> str:
        """Why the text has ended, or "" if it goes on."""
        if reason == "eos":
            return reason
        if self._at_stop(particle) or (reason == "stop" and not stopped_on):
            return "stop"
        return "length" if self.room(particle.branch) <= 0 else ""

    def _at_stop(self, particle: Particle) -> bool:
        """Whether the run's own stops have ended the text; a stop that is not kept is cut off."""
        own = particle.branch.sampling
        text = particle.branch.text()
        hits = [
            (at + len(stop), -len(stop), at) for stop in own.stop if (at := text.find(stop, self.given)) >= 0
        ]
        if hits:
            end, _, at = min(hits)
            particle.cut = end if own.keep_stop else at
        elif own.stop_tokens and particle.branch.tokens[-1] in own.stop_tokens:
            if not own.keep_stop:
                particle.branch.rewind(len(particle.branch) - 1)
            return True
        return bool(hits)


def report(branch: Branch, particles: Sequence[Particle]) -> None:
    """Say on the receipt if nothing could be split into steps; of texts that have ended."""
    if particles and all(len(particle.ends) == 1 for particle in particles):
        branch.degrade("steps", "no text went on after a first step: whole texts were sampled and weighed")


def check_step(step: str, tokens: int | None) -> None:
    """ValueError for a step that never ends or has no room."""
    if not step and tokens is None:
        raise ValueError("step='' needs tokens: give the length of a step")
    if tokens is not None and tokens < 1:
        raise ValueError(f"tokens={tokens}: give at least 1")
