"""prm(): the head on the model's own hidden states; what it costs, what it remembers, what it refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from heads import save_head
from safetensors.numpy import load_file

import outthink as ot
from outthink.backends.load import WEIGHTS
from outthink.backends.toy import hashed, toy
from outthink.bench.tasks import load
from outthink.core.errors import BadInput, CannotDo
from outthink.core.judging import judge
from outthink.core.needs import check_remote
from outthink.core.types import Can, Candidate, Score, Want
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.strategy import Beam, BestOfN
from outthink.testing.scripted import scripted
from outthink.verify import Prm

PROBLEM = load("steps").problem("test", 3)
SHIPPED = WEIGHTS / "pocket" / "prm"
SAMPLING = ot.Sampling(max_tokens=150)


@pytest.fixture(scope="module")
def lm() -> Engine:
    return ot.load("pocket", threads=1)


@dataclass(frozen=True)
class Scored:
    """Samples, and what a verifier says of each: alone, or all in one call; both go into `heard`."""

    verifier: Any
    n: int = 4
    alone: bool = False
    heard: list[tuple[list[int], int, Score]] = field(default_factory=list, compare=False, hash=False)

    async def __call__(self, root: ot.Branch, /) -> ot.Answer:
        branches = root.fork(self.n)
        await ot.gather(*(b.generate() for b in branches))
        given = [Candidate(b.text(), root.problem, branch=b) for b in branches]
        groups = [[c] for c in reversed(given)] if self.alone else [given]
        scores = [score for group in groups for score in await judge(self.verifier, group)]
        for branch, score in zip(branches, reversed(scores) if self.alone else scores, strict=True):
            self.heard.append((root.place.tree.tokens(branch.cursor), branch.origin, score))
        return ot.Answer("")


def by_hand(tokens: Sequence[int], origin: int, place: Path) -> list[float]:
    """The value of each line, by transformers and the definition alone. A newline is a token of its own."""
    model = transformers.AutoModelForCausalLM.from_pretrained(WEIGHTS / "pocket", dtype=torch.float32).eval()
    with torch.inference_mode():
        out = model(torch.tensor([tokens]), output_hidden_states=True)
    states, logps = out.hidden_states[-1][0].numpy(), out.logits[0].log_softmax(-1)
    written = [float(logps[i - 1, tokens[i]]) for i in range(origin, len(tokens))]
    newline = transformers.AutoTokenizer.from_pretrained(WEIGHTS / "pocket").encode("\n")[-1]
    head = load_file(place / "model.safetensors")
    found: list[float] = []
    begin = 0
    for end in (i for i, token in enumerate(tokens[origin:]) if token == newline):
        own, all_ = written[begin : end + 1], written[: end + 1]
        likely = [sum(own), min(own), sum(all_), min(all_), sum(all_) / len(all_), len(found) + 1]
        x = np.concatenate([states[origin + end - 1], likely])
        inner = np.maximum(head["first.weight"] @ x + head["first.bias"], 0)
        found.append(1 / (1 + math.exp(-float((head["second.weight"] @ inner + head["second.bias"])[0]))))
        begin = end + 1
    return found


@pytest.mark.parametrize("kernels", ["auto", "torch"])
def test_it_is_the_head_on_the_states_that_transformers_computes(kernels: str) -> None:
    part = Scored(Prm())
    Engine.run(
        ot.load("pocket", threads=1, kernels=kernels), Request(part, PROBLEM, sampling=SAMPLING, seed=2)
    )
    assert len({tuple(tokens) for tokens, *_ in part.heard}) > 2
    for tokens, origin, score in part.heard:
        expected = by_hand(tokens, origin, SHIPPED)
        assert len(score.steps) == len(expected) > 2
        assert np.allclose(score.steps, expected, atol=1e-4)
        assert score.value == score.steps[-1]


def test_the_batch_changes_no_bit(lm: Engine) -> None:
    together, alone = Scored(Prm()), Scored(Prm(), alone=True)
    lm.run(Request(together, PROBLEM, sampling=SAMPLING, seed=2))
    narrow = ot.load("pocket", threads=1, max_batch=1)
    narrow.run(Request(alone, PROBLEM, sampling=SAMPLING, seed=2))
    if "torch" in lm.main.backend.machine:
        pytest.skip("the native extension is not built: torch's last bits depend on the batch")
    assert together.heard == alone.heard


def test_steps_are_joined_as_asked(lm: Engine) -> None:
    values = {}
    for step in ("last", "min", "product", "mean"):
        part = Scored(Prm(step=step), n=1)
        lm.run(Request(part, PROBLEM, sampling=SAMPLING, seed=2))
        [(_, _, score)] = part.heard
        values[step], steps = score.value, score.steps
    joined = steps[-1], min(steps), math.prod(steps), sum(steps) / len(steps)
    assert list(values.values()) == pytest.approx(joined) and len(steps) > 2


# ---------------------------------------------------------------------------------------------- what it costs


def lines_of(texts: Sequence[str]) -> set[str]:
    """All prefixes of texts that end with a line."""
    return {text[: i + 1] for text in texts for i, char in enumerate(text) if char == "\n"}


@dataclass(frozen=True)
class Told:
    """Says what another verifier said, at no cost; or asks it, and takes it down."""

    known: dict[str, Score] = field(default_factory=dict, compare=False, hash=False)
    source: Any = None
    asked: list[str] = field(default_factory=list, compare=False, hash=False)
    records = ()

    async def __call__(self, candidates: Sequence[Candidate], /) -> list[Score]:
        self.asked.extend(c.text for c in candidates)
        if self.source is not None:
            found = await self.source(candidates)
            self.known.update((c.text, score) for c, score in zip(candidates, found, strict=True))
        return [self.known[c.text] for c in candidates]


def costs(lm_options: dict[str, Any], strategy: Any) -> ot.Receipt:
    answer = ot.run(strategy, PROBLEM, ot.load("pocket", threads=1, **lm_options), seed=4, sampling=SAMPLING)
    assert answer.receipt is not None
    return answer.receipt


@pytest.mark.parametrize(
    "kind", [lambda v: BestOfN(v, n=4), lambda v: Beam(v, width=3)], ids=["best", "beam"]
)
def test_a_step_costs_one_position_once(kind: Any) -> None:
    heard = Told(source=Prm())
    paid = costs({}, kind(heard))
    free = costs({}, kind(Told(heard.known)))
    steps = len(lines_of(list(heard.known)))
    assert steps > 8 and paid.actual.written == free.actual.written
    assert 0 < paid.actual.positions - free.actual.positions <= steps
    # the last newline of a text is evaluated for nobody: the token before it was
    assert paid.logical.positions == free.logical.positions
    assert paid.logical.verified == free.logical.verified > 0
    flops = sum(cost.flops for name, cost in paid.by_scope.items() if name.endswith("verify"))
    head = load_file(SHIPPED / "model.safetensors")
    read = flops / (2.0 * (head["first.weight"].size + head["second.weight"].size))
    assert read in range(
        steps, sum(text.count("\n") for text in heard.asked) + 1
    )  # equal texts may end at once


def test_a_budget_of_positions_is_kept(lm: Engine) -> None:
    answer = ot.run(
        Beam(Prm(), width=3), PROBLEM, lm, seed=4, budget=ot.Budget(positions=120), sampling=SAMPLING
    )
    assert answer.receipt.logical.positions <= 120


def test_passes_for_states_leave_every_other_pass_to_others() -> None:
    engine, kinds = Engine(toy(hashed(4, shortest=64), 4, context=400)), []
    run = engine.main.backend._run
    engine.main.backend._run = lambda job: (kinds.append(job.is_hidden), run(job))[1]

    class Reads:
        async def __call__(self, root: ot.Branch, /) -> ot.Answer:
            for _ in range(30):
                assert len((await root.look(Want(hidden=True))).hidden or ()) == 4
            return ot.Answer("")

    class Writes:
        async def __call__(self, root: ot.Branch, /) -> ot.Answer:
            await root.generate(ot.Sampling(max_tokens=20))
            return ot.Answer("")

    assert all(done.error is None for done in engine.map([Request(Reads(), "a"), Request(Writes(), "ab")]))
    both = kinds[: len(kinds) - kinds[::-1].index(False)]  # as long as there was something to write
    assert kinds.count(True) == 30 and kinds.count(False) == 20
    assert all(not (a and b) for a, b in zip(both, both[1:], strict=False))


# ----------------------------------------------------------------------------------- texts that are not there


@dataclass(frozen=True)
class Given:
    """What a verifier says of texts that are given, on branches that may say something else."""

    verifier: Any
    texts: tuple[str, ...]
    on: str = ""
    want: bool = False
    heard: list[Score] = field(default_factory=list, compare=False, hash=False)

    async def __call__(self, root: ot.Branch, /) -> ot.Answer:
        await root.extend(self.on, Want() if self.want else None)
        self.heard.extend(
            await judge(self.verifier, [Candidate(t, root.problem, branch=root) for t in self.texts])
        )
        return ot.Answer("")


def given(lm: Engine, *texts: str, **fields: Any) -> list[Score]:
    part = Given(Prm(), texts, **fields)
    lm.run(Request(part, PROBLEM, sampling=SAMPLING))
    return part.heard


def test_a_text_that_its_branch_does_not_say_is_read_after_the_same_prompt(lm: Engine) -> None:
    text = "33 + 39 = 72\n72 / 4 = 18\n"
    [own] = given(lm, text, on=text, want=True)
    [forced] = given(lm, text, on=text)  # its log-probabilities are not known
    [absent] = given(lm, text, on="14 + 1 = 15\n", want=True)
    assert own == forced == absent and len(own.steps) == 2


def test_a_step_is_judged_by_what_stands_before_its_separator(lm: Engine) -> None:
    whole, cut, empty, both = given(lm, "33 + 39 = 72\n", "33 + 39 = 72", "", "33 + 39 = 72\n72 / 4 = 18")
    assert len(whole.steps) == len(cut.steps) == len(empty.steps) == 1 and len(both.steps) == 2
    assert both.steps[0] == whole.value != cut.value != empty.value
    assert all(0 < value < 1 for value in (whole.value, cut.value, empty.value))


# -------------------------------------------------------------------------------------------------- bad input


def refused(lm: Engine, part: Prm) -> str:
    with pytest.raises(BadInput) as caught:
        lm.run(Request(Given(part, ("1 + 1 = 2\n",)), PROBLEM))
    message = str(caught.value)
    assert message.startswith("prm(): ") and "\n" not in message
    return message


def copied(tmp_path: Path, **changes: Any) -> Path:
    """The shipped head with another config.json."""
    config = json.loads((SHIPPED / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((SHIPPED / "model.safetensors").read_bytes())
    return tmp_path


def test_heads_that_are_none_are_refused(lm: Engine, tmp_path: Path) -> None:
    assert "no config.json" in refused(lm, Prm(str(tmp_path / "none")))
    assert "holds no reward head" in refused(lm, Prm(str(WEIGHTS / "pocket")))
    place = copied(tmp_path, width="256")
    assert "width" in refused(lm, Prm(str(place)))
    place = copied(tmp_path, hidden=63)
    assert "not those of a head of 63 units" in refused(lm, Prm(str(place)))
    place = copied(tmp_path)
    (place / "config.json").write_text("{")
    assert "config.json is broken" in refused(lm, Prm(str(place)))


def test_broken_weights_are_refused(lm: Engine, tmp_path: Path) -> None:
    place = copied(tmp_path)
    whole = (place / "model.safetensors").read_bytes()
    (place / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "cannot be read" in refused(lm, Prm(str(place)))
    (place / "model.safetensors").unlink()
    assert "cannot be read" in refused(lm, Prm(str(place)))
    save_head(
        place, "pocket", json.loads((SHIPPED / "config.json").read_text())["fingerprint"], 256, fill=math.nan
    )
    assert "not finite" in refused(lm, Prm(str(place)))


def test_the_head_of_another_model_is_refused_by_name(lm: Engine) -> None:
    mini = ot.load("pocket-mini", threads=1)
    message = refused(mini, Prm(str(SHIPPED)))
    assert "is of pocket " in message and "not for pocket-mini" in message
    assert "no reward head comes with pocket-mini" in refused(mini, Prm())


def test_a_model_without_hidden_states_is_refused_before_a_token() -> None:
    engine = Engine(scripted(lambda q: {"A: 1": 1.0}, can=Can.LOCAL & ~Can.HIDDEN))
    with pytest.raises(CannotDo, match="needs hidden, which scripted cannot do; a local model can"):
        engine.run(Request(BestOfN(Prm(), n=2), "q"))
    assert engine.main.tree.peak == 0


def test_a_recorded_text_has_nothing_to_read(lm: Engine) -> None:
    class Call:
        async def __call__(self, root: ot.Branch, /) -> ot.Answer:
            await judge(Prm(), [Candidate("A: 1", PROBLEM)])
            return ot.Answer("")

    with pytest.raises(BadInput, match="recorded candidate has no branch"):
        lm.run(Request(Call(), PROBLEM))


def test_a_hidden_state_is_wanted_alone_and_where_there_is_one(lm: Engine) -> None:
    with pytest.raises(ValueError, match="read alone"):
        Want(hidden=True, top=3)

    class Call:
        async def __call__(self, root: ot.Branch, /) -> ot.Answer:
            await root.hidden([1])
            return ot.Answer("")

    with pytest.raises(BadInput, match="the branch has 0 tokens"):
        lm.run(Request(Call(), PROBLEM))


def test_strangers_may_ask_for_the_shipped_head_but_for_no_file() -> None:
    check_remote(BestOfN(Prm(), n=2))
    with pytest.raises(BadInput, match="remote_safe"):
        check_remote(BestOfN(Prm("/etc"), n=2))
