"""Fractured sampling: many answers from few traces, asked for at several depths of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from outthink.core.branch import Branch
from outthink.core.tasks import gather
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy.once import Once, write
from outthink.strategy.vote import elect

Heard = Callable[[tuple[int, ...], Answer], None]


@dataclass(frozen=True)
class Fractured:
    """Write n traces; at each of `depths` places of every trace, ask for the answer m times; all answers
    vote.

    A trace of T tokens is cut after floor(T * d / (depths + 1)) of them, d = 1 .. depths; `cue` is appended
    there and an answer sampled on, of at most `answer` tokens. The cut traces share the trace's cache: only
    cue and answer are computed. The traces' own answers vote too. depths=0 is self-consistency; n=1 asks one
    trace again and again. Liao et al., "Fractured Chain-of-Thought Reasoning"; `cue` and the sizes are ours.
    """

    n: int = 4
    m: int = 2
    depths: int = 2
    cue: str = "\nA: "
    answer: int = 16

    needs = Can.GENERATE | Can.REWIND
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        for name in ("n", "m", "answer"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give at least 1")
        if self.depths < 0:
            raise ValueError(f"depths={self.depths}: give 0 (whole traces only) or more")

    async def __call__(self, root: Branch, /) -> Answer:
        start = len(root)
        ended: dict[tuple[int, ...], Answer] = {}

        def heard(place: tuple[int, ...], answer: Answer) -> None:
            ended[place] = answer
            root.offer(elect([ended[at] for at in sorted(ended)]), rank=len(ended))

        async def one(i: int, trace: Branch) -> None:
            heard((i,), await Once()(trace))
            cuts = [start + (len(trace) - start) * d // (self.depths + 1) for d in range(1, self.depths + 1)]
            places = [(i, d, j) for d in range(len(cuts)) for j in range(self.m)]
            forks = trace.fork(len(places)) if places else []
            await gather(*(self._ask(cuts[p[1]], p, b, heard) for p, b in zip(places, forks, strict=True)))

        await gather(*(one(i, trace) for i, trace in enumerate(root.fork(self.n))))
        return elect([ended[at] for at in sorted(ended)])

    async def _ask(self, cut: int, place: tuple[int, ...], branch: Branch, heard: Heard) -> None:
        """An answer from the trace's first `cut` tokens; none where the context has no room for it."""
        branch.rewind(cut)
        cue = branch.place.tokenizer.encode(self.cue, special=False)
        room = branch.place.context - branch.cursor.length - len(cue)
        if room < 1:
            return
        await branch.extend(cue)
        heard(place, await write(branch, replace(branch.sampling, max_tokens=min(self.answer, room))))
