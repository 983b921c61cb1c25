"""Stop texts are found however tokens merge, and cut to the character."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

import outthink as ot
from outthink.core.branch import Branch
from outthink.core.types import Answer, Sampling
from outthink.engine.request import Request
from outthink.engine.stops import StopText


class Pieces:
    """A decoder whose token i is the i-th piece of a text."""

    def __init__(self, pieces: list[str]) -> None:
        self.pieces = pieces

    def push(self, token: int) -> str:
        return self.pieces[token]


@given(
    st.lists(st.text("ab\n.", max_size=4), max_size=12),
    st.lists(st.sampled_from(["\n", ".\n", "ab", "b.", "aab"]), min_size=1, max_size=3, unique=True),
    st.booleans(),
)
def test_any_chunking_stops_at_the_same_place(pieces: list[str], stops: list[str], keep: bool) -> None:
    text = "".join(pieces)
    watch = StopText(Pieces(pieces), stops)
    ended = next((i for i in range(len(pieces)) if watch.push(i)), None)
    ends = [(text.find(s) + len(s), -len(s), text.find(s), s) for s in stops if s in text]
    if not ends:
        assert ended is None
        return
    end, _, at, stop = min(ends)
    assert ended is not None
    if len(watch.text) >= end and watch.found == stop:
        assert watch.cut(keep) == (end if keep else at)
    whole = watch.tokens_within(watch.cut(keep))
    assert "".join(pieces[:whole]) == watch.text[: len("".join(pieces[:whole]))]
    assert len("".join(pieces[:whole])) <= watch.cut(keep)


@dataclass(frozen=True)
class Write:
    """Writes with a stop, and checks that branch and finish say the same."""

    sampling: Sampling

    async def __call__(self, root: Branch, /) -> Answer:
        finish = await root.generate(self.sampling)
        assert finish.text == root.text() and len(root.logps) == len(root)
        return Answer(root.text(), finish=finish.reason)


def test_a_stop_inside_a_token_leaves_the_rest_of_it() -> None:
    """On a real tokenizer: whatever stops it, what stays is the text up to there, no more and no less."""
    lm = ot.load("pocket", threads=1)
    question = "Mia has 14 coins. She buys 3 bags of 6 coins. How many coins does Mia have?"
    plain = lm.run(Request(Write(Sampling(temperature=0.0, max_tokens=40)), question)).text
    assert len(plain) > 10
    for start in range(len(plain) - 3):
        for stop in (plain[start : start + 1], plain[start : start + 3]):
            at = plain.find(stop)
            for keep in (False, True):
                sampling = Sampling(temperature=0.0, max_tokens=40, stop=(stop,), keep_stop=keep)
                text = lm.run(Request(Write(sampling), question)).text
                assert text == plain[: at + len(stop) * keep], (stop, keep)
    lm.main.tree.check()
