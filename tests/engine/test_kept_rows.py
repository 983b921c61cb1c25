"""Logits that the backend keeps are drawn from again as if the row had been evaluated anew."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from outthink.backends.toy import hashed, toy
from outthink.core import about
from outthink.core.branch import Branch
from outthink.core.receipt import Receipt
from outthink.core.types import Answer, Budget, Sampling
from outthink.engine.engine import Engine
from outthink.engine.request import Request

BACK = (1, 2, 3, 5, 8, 13, 17, 23, 30)


@dataclass(frozen=True)
class Returns:
    """A token from every so many tokens before the end of a text, twice over: rows go out of what is kept."""

    async def __call__(self, root: Branch, /) -> Answer:
        texts = []
        for _ in range(2):
            await root.generate(Sampling(1.0, max_tokens=32, ignore_eos=True))
            for back in BACK:
                [child] = root.fork()
                child.rewind(len(root) - back)
                await child.generate(Sampling(1.0, max_tokens=1, ignore_eos=True))
                texts.append(child.text())
                child.close()
        return Answer("\n".join(texts))


def play(kept: int, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Receipt]:
    monkeypatch.setattr(about, "MOST_KEPT_ROWS", kept)
    engine = Engine(toy(hashed(5, scale=2.0, seed=4), 5, context=128), slots=400)
    answer = engine.run(Request(Returns(), "ab", Budget(), sampling=Sampling(1.0)))
    assert answer.receipt is not None
    return answer.text, answer.receipt


@pytest.mark.parametrize("kept", [20, 40, 64])
def test_rows_that_are_kept_and_rows_that_are_gone(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text, receipt = play(kept, monkeypatch)
    truth, anew = play(0, monkeypatch)
    assert text == truth
    saved = anew.actual.positions - receipt.actual.positions
    assert saved > 0, "some rows were kept"
    assert (saved < 2 * len(BACK)) == (kept < 64), "and some were gone"
