"""A small network on a model's hidden states, and where on a branch they are read."""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from outthink.core.branch import Branch
from outthink.core.errors import BadInput
from outthink.core.fingerprint import fingerprint
from outthink.core.work import Place
from outthink.text import split_steps

KIND = "process_reward_head"
FOLDER = "prm"  # of the head that comes with a model, in the model's directory
FEATURES = 6  # of `likelihoods`
LEAST = -30.0  # a log-probability counts as this much at least: a forced text may have probability 0
TENSORS = ("first.weight", "first.bias", "second.weight", "second.bias")


class Head(NamedTuple):
    """P(right | text) = sigmoid(second . relu(first x + bias) + offset), x a hidden state, `likelihoods`."""

    first: Any  # [hidden, width + FEATURES], float64 as all of it
    bias: Any  # [hidden]
    second: Any  # [hidden]
    offset: float
    separator: str  # what ends a step

    def value(self, x: Sequence[float]) -> float:
        """Of one row at a time: a batch would change the last bits."""
        import numpy as np

        inner = np.maximum(self.first @ np.asarray(x) + self.bias, 0.0)
        logit = float(inner @ self.second) + self.offset
        return 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0

    @property
    def flops(self) -> float:
        """Of one row: 2 a weight."""
        return 2.0 * (self.first.size + self.second.size)


def mark(place: Place) -> str:
    """What a head says it was made for: the fingerprint of the weights; the name of a model without any."""
    return fingerprint(place.directory) if place.directory else place.name


def head_of(path: str, place: Place) -> Head:
    """The head in `path`, or the one that comes with the model. BadInput if it is none of this model's."""
    if path:
        return load(path, place.name, mark(place))
    own = Path(place.directory) / FOLDER
    if not place.directory or not own.is_dir():
        raise BadInput(
            f"prm(): no reward head comes with {place.name}; give prm(path=...), or train one with "
            "recipes/reward_head.py"
        )
    return load(str(own), place.name, mark(place))


@lru_cache(maxsize=8)
def load(path: str, name: str, made_for: str) -> Head:
    """Read a head once. BadInput, one line, for what is not a head, is broken, or is another model's."""
    config = _config(Path(path))
    if config["fingerprint"] != made_for:
        raise BadInput(
            f"prm(): the head in {path} is of {config['model']} (weights {config['fingerprint'][:12]}), "
            f"not for {name} (weights {made_for[:12]}); train one for it with recipes/reward_head.py"
        )
    first, bias, second, offset = _tensors(Path(path) / "model.safetensors")
    width, hidden = config["width"], config["hidden"]
    found = (first.shape, bias.shape, second.shape, offset.shape)
    if found != ((hidden, width + FEATURES), (hidden,), (1, hidden), (1,)):
        raise BadInput(f"prm(): the tensors in {path} are not those of a head of {hidden} units on {width}")
    return Head(first, bias, second[0], float(offset[0]), config["separator"])


def _config(path: Path) -> dict[str, Any]:
    """config.json of a head, checked."""
    kinds = {"fingerprint": str, "model": str, "separator": str, "width": int, "hidden": int}
    try:
        config = json.loads((path / "config.json").read_text())
    except OSError:
        raise BadInput(f"prm(): {path} has no config.json; give the directory of a reward head") from None
    except ValueError as error:
        raise BadInput(
            f"prm(): {path}/config.json is broken ({error}); copy or train the head again"
        ) from None
    if not isinstance(config, dict) or config.get("kind") != KIND:
        raise BadInput(
            f"prm(): {path} holds no reward head; for a reward model use reward_model({str(path)!r})"
        )
    bad = [key for key, kind in kinds.items() if not isinstance(config.get(key), kind) or not config[key]]
    if bad:
        raise BadInput(
            f"prm(): {path}/config.json says nothing usable of {', '.join(bad)}; train the head again"
        )
    return config


def _tensors(path: Path) -> list[Any]:
    """The tensors of a head as float64. Imports are here because most runs need none."""
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found = load_file(path)
        tensors = [found[name].astype(np.float64) for name in TENSORS]
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        said = f"no tensor {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        raise BadInput(f"prm(): {path} cannot be read ({said}); copy or train the head again") from None
    if not all(np.isfinite(one).all() for one in tensors):
        raise BadInput(f"prm(): {path} holds numbers that are not finite; train the head again")
    return tensors


class Stop(NamedTuple):
    """Where a step stops, in tokens of its branch: the last of its content, and the last of its separator."""

    at: int
    end: int


def stops(branch: Branch, text: str, separator: str) -> list[Stop] | None:
    """Where each step of `text` stops, however tokens cut it; [Stop(0, 0)], the prompt's end, without a step.

    None where the branch does not say `text`. The token that ends the whole text is no part of it.
    """
    reached, said = [0], ""
    push = branch.place.tokenizer.detokenizer().push
    for token in branch.tokens:
        said += push(token) if token not in branch.place.eos else ""
        reached.append(len(said))
    if not said.startswith(text):
        return None
    begin, found = 0, []
    for step in split_steps(text, separator):
        content = begin + len(step.rstrip())
        begin += len(step)
        found.append(Stop(bisect_left(reached, content), bisect_left(reached, begin)))
    return found or [Stop(0, 0)]


def likelihoods(logps: Sequence[float], found: Sequence[Stop]) -> list[tuple[float, ...]]:
    """What the log-probabilities of the tokens say of each step, [steps, FEATURES]; none is below LEAST here.

    Sum and least of the step's own; sum, least and mean of all up to its end; how many steps so far.
    """
    rows: list[tuple[float, ...]] = []
    begin = 0
    logps = [max(p, LEAST) for p in logps]
    for i, stop in enumerate(found):
        own, all_ = logps[begin : stop.end] or (0.0,), logps[: stop.end] or (0.0,)
        count = i + 1 if stop.end else 0
        rows.append((sum(own), min(own), sum(all_), min(all_), sum(all_) / len(all_), float(count)))
        begin = stop.end
    return rows
