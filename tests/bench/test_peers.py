"""What the comparison with other libraries measures against: the enumerated posterior, distances, tries."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.peers.constraint import Exact, Matches, Trie, Work
from benchmarks.peers.genlm_rival import _distance, _of_exact_draws

LETTERS, EOS = "ab", 2


def network(rows: torch.Tensor) -> Any:
    """A model of three tokens, whose word depends on the last one and on how many there are."""
    table = torch.tensor([[0.2, 1.0, -0.5], [0.7, -0.3, 0.1], [0.0, 0.0, 0.0]])
    logits = torch.stack([table[row[-1]] * (1 + len(row) % 2) for row in rows])
    return SimpleNamespace(logits=logits[:, None, :])


def probability(tokens: tuple[int, ...]) -> float:
    """Of tokens after the prompt [1]."""
    logp = 0.0
    for i, token in enumerate(tokens):
        row = torch.tensor([[1, *tokens[:i]]])
        logp += float(network(row).logits[0, -1].double().log_softmax(-1)[token])
    return math.exp(logp)


def test_the_posterior_is_that_of_all_texts_written_out() -> None:
    work = Work("", (1,), Matches("a*b?a*"), particles=1, new=3)
    exact = Exact(network, work, lambda tokens: "".join(LETTERS[t] for t in tokens), EOS)
    mass: dict[str, float] = {}
    ended = [(*head, EOS) for n in range(3) for head in itertools.product((0, 1), repeat=n)]
    for tokens in [*ended, *itertools.product((0, 1), repeat=3)]:
        text = "".join(LETTERS[t] for t in tokens if t != EOS)
        if text.count("b") <= 1:
            mass[text] = mass.get(text, 0.0) + probability(tokens)
    assert exact.z == pytest.approx(sum(mass.values())) and 0.5 < exact.z < 0.95
    assert exact.posterior == pytest.approx({text: p / exact.z for text, p in mass.items()})


def test_distances() -> None:
    even = {"a": 0.5, "b": 0.5}
    assert _distance(even, ["a", "b"], [2.0, 2.0]) == 0
    assert _distance(even, ["a", "a"], [1.0, 3.0]) == 0.5
    assert _distance(even, ["c"], [1.0]) == 1
    mean, worst = _of_exact_draws(even, 100)
    assert mean == pytest.approx(math.sqrt(2 / math.pi) * 0.05, rel=0.15)  # of a mean of fair coins
    assert mean < worst < 0.2


def test_a_trie_counts_each_beginning_once() -> None:
    trie = Trie()
    for tokens in ([1, 2, 3], [1, 2, 4], [1, 2], [2, 2]):
        trie.add(tokens)
    assert len(trie.nodes) == 6
