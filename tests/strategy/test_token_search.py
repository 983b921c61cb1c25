"""Searches by the model's own probabilities, against enumeration: diverse_beam, lattice, phi, mits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from golden import VOCAB as FULL
from golden import run, searches
from hypothesis import given, settings
from hypothesis import strategies as st

from outthink.backends.toy import hashed, scripted, toy
from outthink.core.errors import BadInput
from outthink.core.problem import Problem
from outthink.core.types import Answer, Sampling
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.strategy import DiverseBeam, Greedy, Lattice, Mits, Phi
from outthink.strategy.phi import agreement, keep_confident

__all__ = ["searches"]
VOCAB, LONGEST = 3, 4
LOGITS = hashed(VOCAB, scale=1.5, seed=5)
Text = tuple[tuple[int, ...], float]  # tokens and log-probability


class Marked:
    """A final answer, for texts that have no mark."""

    def __init__(self, value: str | None) -> None:
        self.value = value


def log_softmax(row: Sequence[float]) -> list[float]:
    total = math.log(sum(map(math.exp, row)))
    return [x - total for x in row]


def everything() -> list[Text]:
    """All texts with their log-probability, by recursion on the model alone: first those that end, then those
    that are cut; the most probable first."""
    found: list[Text] = []

    def grow(tokens: tuple[int, ...], logp: float) -> None:
        for v, p in enumerate(log_softmax(LOGITS((1, 2, *tokens)))):
            if v == 0 or len(tokens) + 1 == LONGEST:
                found.append(((*tokens, v), logp + p))
            else:
                grow((*tokens, v), logp + p)

    grow((), 0.0)
    return sorted(found, key=lambda text: (text[0][-1] != 0, -text[1]))


def show(tokens: Sequence[int]) -> str:
    return "".join(".ab"[v] for v in tokens if v)


def on_toy(strategy: Any, **options: Any) -> Answer:
    request = Request(strategy, Problem("ab"), sampling=Sampling(0.7, max_tokens=LONGEST), **options)
    return Engine(toy(LOGITS, VOCAB, context=16), slots=4000).run(request)


def listed(answer: Answer) -> list[tuple[str, float]]:
    return [(a.text, a.score or 0.0) for a in (answer, *answer.others)]


def alike(found: list[tuple[str, float]], truth: list[tuple[str, float]]) -> bool:
    """Whether these are the same texts with the same scores, in any order."""
    pairs = zip(sorted(found), sorted(truth), strict=True)
    return all(a[0] == b[0] and math.isclose(a[1], b[1], abs_tol=1e-9) for a, b in pairs)


def same(found: list[tuple[str, float]], truth: Sequence[Text]) -> bool:
    return len(found) == len(truth) and all(
        text == show(tokens) and math.isclose(score, logp, abs_tol=1e-9)
        for (text, score), (tokens, logp) in zip(found, truth, strict=True)
    )


# -------------------------------------------------------------------------------------------- diverse beam


def diverse_beams(width: int, groups: int, penalty: float) -> list[list[Text]]:
    """Diverse beam search as its paper has it, on the model's definition alone: the groups' final beams."""
    beams: list[list[tuple[tuple[int, ...], float, float]]] = [[((), 0.0, 0.0)] for _ in range(groups)]
    for length in range(LONGEST):
        taken: list[int] = []
        for g, beam in enumerate(beams):
            pool = [b for b in beam if b[0] and b[0][-1] == 0]
            for tokens, score, logp in beam:
                if len(tokens) == length and not (tokens and tokens[-1] == 0):
                    for v, p in enumerate(log_softmax(LOGITS((1, 2, *tokens)))):
                        pool.append(((*tokens, v), score + p - penalty * taken.count(v), logp + p))
            beams[g] = sorted(pool, key=lambda b: -b[1])[: width // groups]
            taken += [b[0][-1] for b in beams[g] if len(b[0]) == length + 1]
    return [[(tokens, logp) for tokens, _, logp in beam] for beam in beams]


@pytest.mark.parametrize("penalty", [0.0, 0.4, 3.0])
@pytest.mark.parametrize(("width", "groups"), [(1, 1), (3, 1), (4, 2), (6, 2), (6, 3), (4, 4)])
def test_diverse_beam_is_that_of_the_paper(width: int, groups: int, penalty: float) -> None:
    truth = [text for beam in diverse_beams(width, groups, penalty) for text in beam]
    found = on_toy(DiverseBeam(width=width, groups=groups, penalty=penalty))
    assert alike(listed(found), [(show(t), p) for t, p in truth])
    complete = [p for tokens, p in truth if tokens[-1] == 0] or [p for _, p in truth]
    assert found.score == pytest.approx(max(complete))


def test_one_group_or_no_penalty_is_beam_search() -> None:
    plain = listed(on_toy(DiverseBeam(width=2, groups=1, penalty=9.0)))
    assert listed(on_toy(DiverseBeam(width=2, groups=1, penalty=0.0))) == plain
    twice = listed(on_toy(DiverseBeam(width=4, groups=2, penalty=0.0)))
    assert twice[::2] == twice[1::2] == plain


def test_a_beam_with_room_for_everything_is_enumeration() -> None:
    truth = everything()
    assert same(listed(on_toy(DiverseBeam(width=len(truth), groups=1))), truth)


def test_groups_find_other_texts() -> None:
    alike = {text for text, _ in listed(on_toy(DiverseBeam(width=4, groups=4, penalty=0.0)))}
    assert len(alike) == 1
    assert len({text for text, _ in listed(on_toy(DiverseBeam(width=4, groups=4, penalty=9.0)))}) > 2


def test_chosen_tokens_are_paid_for() -> None:
    """Greedy search of 4 tokens writes 4, and evaluates the prompt and what it wrote, but the last."""
    answer = on_toy(DiverseBeam(width=1, groups=1))
    cost = answer.receipt.logical  # type: ignore[union-attr]
    assert (cost.written, cost.positions) == (answer.tokens, 2 + answer.tokens - 1)
    assert answer.receipt.actual.positions == cost.positions  # type: ignore[union-attr]


# ------------------------------------------------------------------------------------------------- lattice


@pytest.mark.parametrize("n", [1, 5, 100])
def test_without_merging_texts_come_in_the_order_of_their_probability(n: int) -> None:
    found = on_toy(Lattice(n=n, expansions=10_000, top=VOCAB, merge=False, complete=False, wave=1))
    first = sorted(everything(), key=lambda text: -text[1])[:n]
    assert same(listed(found), [text for text in everything() if text in first])


def test_the_order_of_best_first_search_writes_no_more_than_it_must() -> None:
    """To know the most probable text, exactly the prefixes that are at least as probable are written."""
    best = max(everything(), key=lambda text: text[1])
    prefixes = {(): 0.0}
    for tokens, _ in everything():
        for i in range(1, len(tokens) + 1):
            row = log_softmax(LOGITS((1, 2, *tokens[: i - 1])))
            prefixes[tokens[:i]] = prefixes[tokens[: i - 1]] + row[tokens[i - 1]]
    needed = sum(logp >= best[1] - 1e-12 for tokens, logp in prefixes.items() if tokens)
    found = on_toy(Lattice(n=1, expansions=10_000, top=VOCAB, merge=False, complete=False, wave=1))
    assert found.receipt.logical.written == needed  # type: ignore[union-attr]


def test_merging_scores_what_it_joins_exactly() -> None:
    """Every text of the lattice has its own log-probability, not that of the text it was merged with."""
    for ngram in (1, 2):
        found = on_toy(Lattice(n=40, expansions=10_000, top=VOCAB, ngram=ngram, wave=1))
        assert len(found.others) > 2
        for text, score in listed(found):
            assert any(math.isclose(score, p, abs_tol=1e-9) for t, p in everything() if show(t) == text)


def test_merging_encodes_more_texts_than_it_writes() -> None:
    """A model that forgets all but its last token: after each of them everything is the same."""
    table = {"Q": {"a": 0.5, "b": 0.5}, "a": {"c": 0.6, "d": 0.4}, "b": {"c": 0.6, "d": 0.4}}
    table |= {x: {"e": 0.7, "f": 0.3} for x in "cd"} | {x: {".": 1.0} for x in "ef"}
    answers = {}
    for merge in (False, True):
        found = run(
            Lattice(n=8, expansions=200, merge=merge, ngram=1, wave=1),
            backend=lambda: toy(scripted(table, FULL), FULL),
        )
        answers[merge] = found
    plain, merged = listed(answers[False]), listed(answers[True])
    assert len(plain) == 8 and alike(plain, merged)
    written = {merge: answers[merge].receipt.logical.written for merge in answers}  # type: ignore[union-attr]
    assert written == {False: 2 + 4 + 8 + 8, True: 2 + 2 + 2 + 2}


def test_a_lattice_has_no_cycles_and_ends() -> None:
    """a a a a ...: the same last token again and again leads to itself, and is written on, not merged."""
    table = {"Q": {"a": 1.0}, "a": {"a": 0.9, ".": 0.1}}
    found = run(
        Lattice(n=3, expansions=30, ngram=1, wave=2),
        backend=lambda: toy(scripted(table, FULL), FULL),
        sampling=Sampling(max_tokens=12),
    )
    assert found.text == "a" * len(found.text) and len(found.others) == 2
    assert found.receipt.logical.written > 4  # type: ignore[union-attr]  # not a, its end, and a circle


@pytest.mark.parametrize("wave", [1, 4])
def test_a_text_is_written_to_its_end_before_another_is_begun(wave: int) -> None:
    """Best-first search alone spends its tokens on beginnings: a, b, ac, ad and bc are all likelier than
    ace."""
    table = {"Q": {"a": 0.6, "b": 0.4}}
    table |= {x: {"c": 0.6, "d": 0.4} for x in "ab"} | {x: {"e": 0.6, "f": 0.4} for x in "cd"}
    table |= {x: {".": 1.0} for x in "ef"}

    def search(complete: bool) -> Answer:
        strategy = Lattice(n=2, expansions=4, merge=False, complete=complete, wave=wave)
        return run(strategy, backend=lambda: toy(scripted(table, FULL), FULL))

    greedy = run(Greedy(), backend=lambda: toy(scripted(table, FULL), FULL)).text
    found = search(complete=True)
    assert (found.text, found.finish) == (greedy, "eos")
    assert found.receipt.logical.written == 4  # type: ignore[union-attr]
    assert search(complete=False).receipt.logical.written > 4  # type: ignore[union-attr]  # nothing had ended


@pytest.mark.parametrize("wave", [1, 4])
def test_no_answer_of_a_lattice_is_less_probable_than_the_greedy_text(wave: int) -> None:
    """However wrong what merging promises: here the same two tokens mean something else on every path."""
    ended = 0
    for seed in range(30):
        logits, logp, tokens = hashed(4, scale=3.0, seed=seed), 0.0, [1, 2]
        while len(tokens) < 11 and (len(tokens) == 2 or tokens[-1]):  # greedily, on the model's definition
            row = log_softmax(logits(tuple(tokens)))
            tokens.append(max(range(4), key=row.__getitem__))
            logp += row[tokens[-1]]
        request = Request(
            Lattice(n=2, expansions=60, ngram=1, wave=wave), Problem("ab"), sampling=Sampling(max_tokens=9)
        )
        found = Engine(toy(logits, 4), slots=4000).run(request)
        ended += tokens[-1] == 0
        assert tokens[-1] or found.score >= logp - 1e-9  # type: ignore[operator]
    assert ended > 3


def test_what_merging_promises_is_not_the_answer() -> None:
    """The state c was written after a, where x is likely; after b and e, which promise more, it is not."""
    table = {
        "Q": {"a": 0.4, "b": 0.3, "e": 0.3},
        "a": {"c": 0.51, "d": 0.49},
        "b": {"c": 1.0},
        "e": {"c": 1.0},
    }
    table |= {"ac": {"x": 0.9, "y": 0.1}, "bc": {"x": 0.01, "y": 0.99}, "ec": {"x": 0.01, "y": 0.99}}
    table |= {x: {".": 1.0} for x in "dxy"}
    found = run(Lattice(n=2, ngram=1), backend=lambda: toy(scripted(table, FULL), FULL))
    assert found.text == "ad" and found.score == pytest.approx(math.log(0.4 * 0.49))


def test_a_lattice_without_an_end_is_written_on_greedily() -> None:
    table = {"Q": {"a": 0.6, "b": 0.4}, **{x: {"c": 1.0} for x in "ab"}, "c": {".": 1.0}}
    found = run(Lattice(expansions=1), backend=lambda: toy(scripted(table, FULL), FULL))
    assert (found.text, found.finish) == ("ac", "eos")


# ----------------------------------------------------------------------------------------------------- phi


def test_in_width_pruning_by_hand() -> None:
    assert keep_confident([0.0, -1.0, -2.0, -9.0], 1.0) == [0, 1, 2]  # mean -3, deviation 3.54
    assert keep_confident([0.0, -1.0, -2.0, -9.0], 0.5) == [0, 1, 2]  # from -4.77
    assert keep_confident([0.0, -1.0, -2.0, -9.0], 1e9) == [0, 1, 2, 3]
    assert keep_confident([-1.0], 0.0) == [0] and keep_confident([-1.0] * 3, 0.0) == [0, 1, 2]


@given(st.lists(st.floats(-50, 0), min_size=1, max_size=9), st.floats(0, 3))
def test_in_width_pruning_never_drops_the_best(values: list[float], width: float) -> None:
    assert values.index(max(values)) in keep_confident(values, width)


def test_agreement_is_between_answers_and_none_agrees_with_nothing() -> None:
    assert agreement(["1/2", "0.5", "3", None, None]) == [0.4, 0.4, 0.2, 0.2, 0.2]


AGREED = {
    "Q": {"a": 0.5, "b": 0.5},
    "a": {"\n": 1.0},
    "b": {"\n": 1.0},
    "a\n": {"A": 1.0},
    "b\n": {"A": 1.0},
    "A": {":": 1.0},
    ":": {" ": 1.0},
    "a\nA: ": {"1": 1.0},
    "b\nA: ": {"2": 1.0},
    "1": {".": 1.0},
    "2": {".": 1.0},
}


def agreed(same_answer: bool) -> Any:
    table = AGREED | ({"b\nA: ": {"1": 1.0}} if same_answer else {})
    return toy(scripted(table, FULL), FULL, context=128)


def test_in_depth_pruning_stops_where_futures_agree(searches: list[Any]) -> None:
    early = run(Phi(width=1, expand=24), backend=lambda: agreed(True))
    late = run(Phi(width=1, expand=24), backend=lambda: agreed(False))
    assert early.final == "1" and late.final in ("1", "2")
    assert early.receipt.logical.written < late.receipt.logical.written
    assert {a.final for a in late.others} <= {"1", "2"}


def test_equal_steps_have_futures_of_their_own(searches: list[Any]) -> None:
    """A step that is written 9 times in 10 has 9 futures in 10: what they agree on is what is likely."""
    table = AGREED | {"Q": {"a": 0.9, "b": 0.1}}
    for seed in range(5):
        run(Phi(width=1, expand=20, prune=1e9, agree=0.6), backend=_built(table), seed=seed)
        ended = searches.pop().ended
        assert len(ended) == 20 and sum(node.answer().final == "1" for node in ended) >= 12


def _built(table: dict[str, dict[str, float]]) -> Any:
    return lambda: toy(scripted(table, FULL), FULL, context=128)


def test_phi_draws_steps_by_the_joint_distribution() -> None:
    """After b the answer is open, so a's future is likelier, but by little: of 7 tokens, b's have log 1/2
    twice, a's once. p(a) = (1 / (1 + exp(-log 2 / 7 / .6)) + 1/2) / 2 = .52: drawn, not taken."""
    table = AGREED | {"b\nA: ": {"2": 0.5, "3": 0.5}, "3": {".": 1.0}}
    finals = [
        run(
            Phi(width=1, expand=12, agree=2.0, prune=1e9),
            backend=lambda: toy(scripted(table, FULL), FULL, context=128),
            seed=seed,
        ).final
        for seed in range(60)
    ]
    assert 20 <= finals.count("1") <= 43  # 31 +- 3 standard deviations


# ---------------------------------------------------------------------------------------------------- mits


def test_mits_scores_by_mutual_information(searches: list[Any]) -> None:
    """Every path's score is log p(path | question) - log p(path | blank), by the model's definition."""
    for step in "ab":
        on_toy(Mits(width=3, expand=3, blank="b", step=step))
    ended = [node for search in searches for node in search.ended]
    assert any(node.parent.parent is not None for node in ended)  # some have several steps
    for node in ended:
        tokens = [".ab".index(c) for c in node.text] + [0] * (node.ended == "eos")

        def logp(prompt: tuple[int, ...], tokens: list[int] = tokens) -> float:
            rows = (log_softmax(LOGITS((*prompt, *tokens[:i]))) for i in range(len(tokens)))
            return sum(row[token] for row, token in zip(rows, tokens, strict=True))

        assert node.score == pytest.approx(logp((1, 2)) - logp((2,)), abs=1e-9)


def test_mits_samples_where_the_next_token_is_open(searches: list[Any]) -> None:
    """After a the next token is certain, after b there are four: of 8 samples, a gets the one it must."""
    table = {"Q": {"a": 0.5, "b": 0.5}, "\n": {"a": 0.5, "b": 0.5}, "a": {"\n": 1.0}, "b": {"\n": 1.0}}
    table |= {"Qa\n": {"c": 1.0}, "Qb\n": dict.fromkeys("defg", 0.25)}
    table |= {x: {".": 1.0} for x in "cdefg"}
    run(Mits(width=2, expand=4, blank="Q"), backend=lambda: toy(scripted(table, FULL), FULL), seed=2)
    a, b = sorted(searches[0].root.children, key=lambda node: node.text)
    assert (sum(n.count for n in a.children), sum(n.count for n in b.children)) == (1, 7)


def test_mits_votes_with_mutual_information_a_token(
    searches: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outthink.strategy._steps.final_answer", lambda text: Marked(text[:1] or None))
    answer = on_toy(Mits(width=3, expand=3, blank="b", step="b"))
    weights: dict[str, float] = {}
    for node in searches[0].ended:
        tokens = len(node.text) + 1
        if node.ended == "eos":
            weights[node.text[:1]] = weights.get(node.text[:1], 0.0) + math.exp(node.score / tokens)
    assert answer.final and weights[answer.final] == max(w for text, w in weights.items() if text)
    assert answer.score == pytest.approx(weights[answer.final] / sum(weights.values()))


def test_mits_needs_a_prompt_that_asks_nothing() -> None:
    with pytest.raises(BadInput, match="blank="):
        on_toy(Mits())


# ------------------------------------------------------------------------------------------ any seed, model


@settings(max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 3), st.integers(1, 2))
def test_a_wider_beam_writes_a_tree_that_holds_its_answer(seed: int, width: int, groups: int) -> None:
    logits = hashed(VOCAB, scale=3.0, seed=seed)
    request = Request(
        DiverseBeam(width=width * groups, groups=groups), Problem("ab"), sampling=Sampling(max_tokens=3)
    )
    answer = Engine(toy(logits, VOCAB, context=16), slots=4000).run(request)
    tokens = [".ab".index(c) for c in answer.text] + [0] * (answer.finish == "eos")
    rows = (log_softmax(logits((1, 2, *tokens[:i]))) for i in range(len(tokens)))
    total = sum(row[token] for row, token in zip(rows, tokens, strict=True))
    assert answer.score == pytest.approx(total, abs=1e-9)
