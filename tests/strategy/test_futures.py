"""Where steps lead: a rest that is written in one piece is what its steps would have been."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from golden import LEAVES, Told, run

from outthink.core.branch import Branch
from outthink.core.types import Answer, Can, Sampling
from outthink.strategy import Phi
from outthink.strategy._search import Search, futures


@dataclass(frozen=True)
class Looking:
    """`n` futures of the root; the answers are their texts, how they ended in `reason`."""

    most: int | None
    n: int = 6
    verifier: Any = None
    step: str = "\n"
    step_tokens: int = 64
    needs = Can.GENERATE
    remote_safe = True

    async def __call__(self, root: Branch, /) -> Answer:
        search = Search(root, self)
        ways = await search.write([(search.root, self.n)], merge=False)
        tips = await futures(search, ways, self.most)
        assert all(
            search.fresh[tip.branch.path] is tip
            for way, tip in zip(ways, tips, strict=True)
            if tip is not way
        )
        search.report()
        answers = [tip.answer() for tip in tips]
        return Answer(answers[0].text, others=tuple(answers), estimates={"has_steps": search.has_steps})


SAMPLINGS = {
    "plain": Sampling(temperature=1.0),
    "cap": Sampling(temperature=1.0, max_tokens=4),
    "stop": Sampling(temperature=1.0, stop=("d\n", "cx")),
    "kept stop": Sampling(temperature=1.0, stop=("d\n",), keep_stop=True),
    "stop in the first step": Sampling(temperature=1.0, stop=("a",)),
    "stop token": Sampling(temperature=1.0, stop_tokens=(4,)),
}


@pytest.mark.parametrize("step_tokens", [64, 1])
@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
def test_a_rest_is_what_its_steps_would_be(sampling: Sampling, step_tokens: int) -> None:
    whole, parts = (
        run(Looking(most, step_tokens=step_tokens), sampling=sampling, seed=3) for most in (None, 99)
    )
    assert [(o.text, o.finish) for o in whole.others] == [(o.text, o.finish) for o in parts.others]
    assert len({o.text for o in whole.others}) > 1 or sampling.stop == ("a",)
    assert whole.receipt is not None and parts.receipt is not None
    saved = parts.receipt.logical.written - whole.receipt.logical.written
    assert saved == 0 or (saved > 0 and step_tokens == 1), "steps see a stop too late that they cut in two"
    assert whole.estimates == parts.estimates


def test_what_a_budget_leaves_of_a_rest_is_on_offer() -> None:
    """A text has 5 tokens and its end, the first step two of them: in the first rest there are two more."""
    answer = run(Phi(width=1, expand=2, step_tokens=2), budget={"written": 6}, seed=1)
    assert answer.receipt is not None and answer.receipt.logical.written == 6
    assert len(answer.text) == 4 and any(leaf.startswith(answer.text) for leaf in LEAVES)


def test_the_first_rests_under_a_budget_are_whole() -> None:
    """Ten texts of 6 tokens, 20 tokens: some are complete, where steps would have gone side by side."""
    answer = run(Looking(None, 10, Told()), budget={"written": 40}, seed=1)
    assert answer.text in LEAVES
