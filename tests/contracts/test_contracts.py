"""The laws of each family, over every part in it."""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import pytest
from cases import (
    ASKING,
    DRAFTERS,
    PROMPTED,
    RULES,
    STORE,
    STRATEGIES,
    UNNAMED,
    VERIFIERS,
    WITH_A_MODEL,
    WRONG_FIELDS,
)

from outthink import spec
from outthink.backends.toy import ALPHABET, hashed, toy
from outthink.bench import tasks
from outthink.bench.tasks import load
from outthink.core.branch import Branch
from outthink.core.draft import Draft
from outthink.core.problem import Problem, Secret
from outthink.core.rng import digest
from outthink.core.samples import Sampled
from outthink.core.types import Answer, Candidate, Sampling, Score
from outthink.speculate._suffixes import build
from outthink.strategy import BestOfN, Once, Short, Vote
from outthink.testing.contracts import check_drafter, check_strategy, check_task, check_verifier
from outthink.testing.scripted import scripted
from outthink.verify import Likelihood

VOCAB = len(ALPHABET)
PROBLEM = Problem("ab", secret=Secret(reference="a"))
GENERATED = ("countdown", "paths", "procedures", "steps")


def backend() -> Any:
    return toy(hashed(VOCAB, scale=6.0, seed=2), VOCAB, context=48)


def each(table: dict[str, list[Any]]) -> list[Any]:
    return [pytest.param(part, id=repr(part)) for parts in table.values() for part in parts]


FAMILIES = {
    "strategy": STRATEGIES | PROMPTED,
    "verify": VERIFIERS | ASKING,
    "speculate": DRAFTERS | WITH_A_MODEL,
    "speculate.rules": RULES,
}


@pytest.mark.parametrize(("family", "table"), FAMILIES.items(), ids=FAMILIES)
def test_every_file_has_a_case(family: str, table: dict[str, list[Any]]) -> None:
    assert sorted(table) == sorted(spec.names(family))


@pytest.mark.parametrize("strategy", [*each(STRATEGIES), *each(UNNAMED)])
def test_strategy(strategy: Any) -> None:
    check_strategy(strategy, backend, PROBLEM)


LISTS = Problem(
    "Rank them. Best first.\n- a\n- b\n- c\nQ[1]: one?\nQ[2]: two?\nQ[3]: which?",
    secret=Secret(reference="1"),
)
SAID = ("A: 1", "A: 2", "A: 2 > 1 > 3", "A: 1\nA[1]: 4\nA[2]: 5", "No mistakes.", "Proved", "none", "1, 2",
        "Agrees", "Score: 70", "Verdict: correct", "Verdict: incorrect", "True", "Hm")  # fmt: skip


def talker() -> Any:
    """A model that answers every question with something, often with nothing that was asked for."""
    return scripted(lambda question: {said: 1 + digest(question, said) % 3 for said in SAID}, context=2048)


@pytest.mark.parametrize("strategy", each(PROMPTED))
def test_prompted_strategy(strategy: Any) -> None:
    check_strategy(strategy, talker, LISTS, Sampling(temperature=1.0, max_tokens=12))


@pytest.mark.parametrize("verifier", each(ASKING))
def test_asking_verifier(verifier: Any, tiny_reward_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny_reward_models)
    texts = ["1 + 1 = 2\nA: 1\n", "1 + 1 = 3\nA: 3\n", "abc", ""]
    check_verifier(verifier, [Candidate(t, LISTS, "1" if "A: 1" in t else None) for t in texts], talker)


@pytest.mark.parametrize("verifier", each(VERIFIERS))
def test_verifier(verifier: Any) -> None:
    task = load("steps")
    problem = task.problem("test", 0)
    texts = [problem.secret.solution, "1 + 1 = 3\nA: 3\n", "abc", ""]
    check_verifier(
        verifier,
        [
            Candidate(
                t,
                problem,
                "3" if "A:" in t else None,
                sampled=Sampled("3", scores={"prm": float(len(t))}),
            )
            for t in texts
        ],
        lambda: toy_for(texts),
    )


DRAFTED = [  # strategies and samplings that drafters are crossed with
    ([Once(), Vote(n=4), Short(m=1, k=3)], Sampling(temperature=0.8, max_tokens=24, ignore_eos=True)),
    ([Vote(n=3)], Sampling(temperature=0.0, max_tokens=24)),
    (
        [Vote(n=3), BestOfN(Likelihood(), n=2)],
        Sampling(temperature=1.0, max_tokens=24, top_p=0.9, repetition_penalty=1.2, stop=("bb",)),
    ),
]


@pytest.fixture
def in_store_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    local = toy(hashed(6, scale=3.0, seed=2), 6, context=48)
    build(
        STORE, [local.tokenizer.encode(text) for text in ("abcabcabd", "ddcbaab", "ab")], local.tokenizer, 6
    )


@pytest.mark.usefixtures("in_store_folder")
@pytest.mark.parametrize("drafter", each(DRAFTERS))
@pytest.mark.parametrize(("strategies", "sampling"), DRAFTED, ids=["sampled", "greedy", "warped"])
def test_drafter(drafter: Any, strategies: list[Any], sampling: Sampling) -> None:
    check_drafter(
        drafter, lambda: toy(hashed(6, scale=3.0, seed=2), 6, context=48), PROBLEM, strategies, sampling
    )


def toy_for(texts: list[str]) -> Any:
    """A toy that reads any of these texts: what it does not know becomes a letter."""
    local = backend()
    encode = local.tokenizer.encode
    local.tokenizer.encode = lambda text, special=True: encode(
        "".join(c if c in ALPHABET[1:] else "a" for c in text)
    )
    return local


@pytest.mark.parametrize("name", GENERATED)
def test_task(name: str) -> None:
    assert set(GENERATED) <= set(tasks.names())
    check_task(load(name))


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_option_is_tried(name: str) -> None:
    """Some case of each strategy sets each of its fields to something else than its default."""
    all_ = [*STRATEGIES[name], *UNNAMED.get(name, [])]
    cases = [part for part in all_ if type(part).__module__.endswith(f".{name}")]
    usual = {f.name: f.default for f in dataclasses.fields(cases[0]) if f.default is not MISSING}
    usual |= {f.name: f.default_factory() for f in dataclasses.fields(cases[0]) if f.name not in usual
              and f.default_factory is not MISSING}  # fmt: skip
    usual.pop(
        "models", None
    )  # other models than the first, which a toy has not: test_selection_distributions
    assert not [key for key, value in usual.items() if all(getattr(c, key) == value for c in cases)]


@pytest.mark.parametrize("part", [part for table in FAMILIES.values() for part in each(table)])
def test_a_part_prints_as_its_configuration(part: Any) -> None:
    family = type(part).__module__.removeprefix("outthink.").rpartition(".")[0]
    assert spec.parse(repr(part), family) == part
    assert repr(part).startswith(type(part).__module__.rpartition(".")[2] + "(")


@pytest.mark.parametrize(("kind", "fields", "message"), WRONG_FIELDS)
def test_fields_have_ranges(kind: type, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**fields)


def test_the_checks_can_fail() -> None:
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class ByBatch:
        async def __call__(self, root: Branch, /) -> Answer:
            await root.generate()
            return Answer(str(root.place.max_batch))  # type: ignore[attr-defined]

    with pytest.raises(AssertionError, match="max_batch=1 changes it"):
        check_strategy(ByBatch(), backend, PROBLEM)

    @dataclass(frozen=True)
    class ByPlace:
        records = ()

        async def __call__(self, candidates: Any, /) -> list[Score]:
            return [Score(float(i)) for i, _ in enumerate(candidates)]

    with pytest.raises(AssertionError, match="alone"):
        check_verifier(ByPlace(), [Candidate("a"), Candidate("b")], backend)

    @dataclass(frozen=True)
    class Deep:
        def open(self, studio: Any) -> Any:
            return Deeper()

    class Deeper:
        name, tops, end = "deep", 0, staticmethod(lambda tip: None)

        def propose(self, tip: Any, depth: int, nodes: int) -> Draft:
            return Draft.chain([1] * (depth + 1), [0.5] * (depth + 1), "deep")

        def observe(self, tip: Any, outcome: Any) -> None: ...

    with pytest.raises(BaseException, match="levels where"):
        check_drafter(Deep(), backend, PROBLEM, [Once()], Sampling(max_tokens=6))
