"""A head as potential and as twist, enumerated: a text weighs what the model and the head say together."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from heads import save_head
from smc_world import Rewards, World, same

from outthink.backends.toy import ALPHABET
from outthink.strategy import Particles, Twisted
from outthink.verify import Prm

WORLD = World(vocab=3, longest=2)
FIELDS: dict[str, Any] = {"n": 2, "step": "", "tokens": 1, "pick": "draw", "threshold": 1.0}


def probabilities(prefix: tuple[int, ...]) -> np.ndarray:
    weights = np.exp(np.asarray(WORLD.logits(prefix)))
    return weights / weights.sum()


def value(text: str, head: dict[str, np.ndarray]) -> float:
    """What the head says of a text after the prompt "aa", by the definitions alone: a toy's hidden state is
    its distribution, and a text without a newline is one step."""
    prompt, tokens = (1, 1), tuple(ALPHABET.index(c) for c in text)
    logps = [math.log(probabilities((*prompt, *tokens[:i]))[t]) for i, t in enumerate(tokens)] or [0.0]
    likely = [sum(logps), min(logps)] * 2 + [sum(logps) / len(logps), 1.0 if tokens else 0.0]
    x = np.concatenate([probabilities((*prompt, *tokens)), likely])
    inner = np.maximum(head["first.weight"].astype(float) @ x + head["first.bias"], 0)
    return 1 / (1 + math.exp(-float((head["second.weight"].astype(float) @ inner + head["second.bias"])[0])))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("head")
    return str(folder), save_head(folder, "toy", "toy", WORLD.vocab)


def test_the_head_as_potential_gives_its_posterior(place: tuple[str, Any]) -> None:
    path, head = place
    truth = WORLD.target(lambda text: value(text, head))
    assert max(truth.values()) / min(truth.values()) > 2
    found = WORLD.weighted(Particles(Prm(path), **FIELDS))
    assert same(found, truth), (found, truth)


@pytest.mark.parametrize("n", [1, 2])
def test_the_head_as_twist_leaves_every_texts_weight_unbiased(place: tuple[str, Any], n: int) -> None:
    """psi = P(right): E[Z^ 1[the answer is x]] = p(x) phi(x), whatever the head thinks of texts under way."""
    path, _ = place
    found = WORLD.weighted(Twisted(Rewards(), Prm(path), **FIELDS | {"n": n}))
    assert same(found, WORLD.target()), (found, WORLD.target())
    ends = WORLD.runs(Twisted(Rewards(), Prm(path), **FIELDS | {"n": n}), lambda a: a.estimates["log_z"])
    z = sum(WORLD.target().values())
    assert math.isclose(sum(p * math.exp(log_z) for log_z, p in ends.items()), z, abs_tol=1e-9)  # type: ignore[arg-type]
    assert sum(p * log_z for log_z, p in ends.items()) < math.log(z)  # type: ignore[operator]
