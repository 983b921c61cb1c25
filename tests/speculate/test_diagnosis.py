"""The numbers of a diagnosis, where they are known: scripted drafts, enumerated trees, a made-up curve."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

import pytest
from drafters import Asking, wild

from outthink.backends.toy import hashed, toy
from outthink.bench import diagnosis as module
from outthink.bench.diagnosis import (
    Depth,
    Listener,
    Pass,
    best_known,
    by_position,
    diagnose,
    expected,
    predicted,
)
from outthink.bench.diagnosis import trees_of as trees
from outthink.bench.diagnosis_plot import draw
from outthink.cli import run as command
from outthink.core.draft import Draft
from outthink.core.drafting import Tip
from outthink.core.jobs import Draw
from outthink.core.types import Sampling
from outthink.engine.curve import Curve, Line
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.engine.trace import Trace, Traces
from outthink.strategy.once import Once
from outthink.strategy.vote import Vote

VOCAB, LONG = 5, 21
LOGITS = hashed(VOCAB, scale=2.0)
WARM = Sampling(temperature=0.9, max_tokens=LONG, ignore_eos=True)


def engine() -> Engine:
    return Engine(toy(LOGITS, VOCAB))


def written(sampling: Sampling, seed: int = 3) -> list[int]:
    """The prompt and what plain decoding writes after it."""
    seen: list[int] = []

    class Hear(Trace):
        def wrote(self, branch: Any, tokens: Sequence[int]) -> None:
            seen.extend(tokens)

    lm = engine()
    lm.trace = Hear()
    lm.run(Request(Once(), "abc", seed=seed, sampling=sampling))
    return [1, 2, 3, *seen]


def right_then_wrong(text: list[int], right: int, nodes: int) -> Callable[[Tip, int, int], Draft | None]:
    """Chains of `nodes` tokens of which the first `right` come true; shorter ones near the end."""

    def ask(tip: Tip, depth: int, most: int) -> Draft | None:
        at = len(tip.tokens)
        count = min(nodes, depth)
        tokens = [text[at + i] if i < right else (text[at + i] + 1) % VOCAB for i in range(count)]
        return Draft(tuple(tokens), tuple(range(-1, count - 1))) if count else None

    return ask


def heard(drafter: Asking, sampling: Sampling = WARM, seed: int = 3) -> Listener:
    lm, listener = engine(), Listener()
    lm.trace = Traces(listener, Trace())
    lm.run(Request(Once(), "abc", seed=seed, sampling=sampling, speculate=drafter))
    return listener


def chance(prefix: Sequence[int], token: int) -> float:
    """The model's probability of a token, at the temperature."""
    row = [math.exp(x / WARM.temperature) for x in LOGITS(tuple(prefix))]
    return row[token] / sum(row)


def test_scripted_chains_give_known_numbers() -> None:
    """Four nodes, two right: 1 token with the prompt, three a step, and a last step with room for 1 node."""
    text = written(WARM)
    [(steps, total)] = heard(Asking(right_then_wrong(text, right=2, nodes=4))).stretches
    assert total == LONG and [s.written for s in steps] == [1, 4, 7, 10, 13, 16, 19]
    assert [len(s.path) for s in steps] == [2] * 6 + [1]
    assert [len(s.likely) - 1 for s in steps] == [4] * 6 + [1]
    assert module.by_depth(steps) == [Depth(1, 7, 7), Depth(2, 6, 6), Depth(3, 6, 0)]
    assert by_position(steps, width=10) == [(0, 10, 3, 12, 6), (10, 20, 4, 13, 7)]
    found = trees([(steps, total)])
    assert (found.steps, found.nodes, found.accepted) == (7, 25 / 7, 13 / 7)
    assert found.hindsight == (6 * 4 + 1) / 7
    sure = 0.0
    for step in steps:
        at, path = 3 + step.written, 1.0
        for node, token in enumerate(step.draft.tokens):
            path *= chance([*text[:at], *step.draft.tokens[:node]], token)
            sure += path
    assert found.expected == pytest.approx(sure / 7, rel=1e-12)
    assert found.expected <= found.best_known


def test_hindsight_ends_with_the_text() -> None:
    """A chain of all that comes: what is accepted is what hindsight gives."""
    text = written(WARM)
    found = trees(heard(Asking(right_then_wrong(text, right=8, nodes=8))).stretches)
    assert found.accepted == found.hindsight == (8 + 8 + 1) / 3
    siblings = heard(Asking(lambda tip, depth, most: Draft((1, 2, 3, 4), (-1,) * 4))).stretches
    [(steps, total)] = siblings
    left = [total - step.written - 1 for step in steps]
    assert left[-1] < 4, "a step with more nodes than there was text"
    assert trees(siblings).hindsight == sum(min(4, more) for more in left) / len(left)


def all_trees(known: Any, draft: Draft, nodes: int) -> float:
    """The best sum of path probabilities over all trees of known nodes, tried one by one."""
    checked = {(draft.parents[n], draft.tokens[n]): n for n in known if n >= 0}
    places = {(): 1.0}
    todo: list[tuple[tuple[int, ...], int, float]] = [((), -1, 1.0)]
    for path, node, p in todo:
        for token, logp in known[node].items():
            places[(*path, token)] = p * math.exp(logp)
            if (node, token) in checked:
                todo.append(((*path, token), checked[node, token], p * math.exp(logp)))
    names = [path for path in places if path]
    sums = [0.0]
    for chosen in combinations(names, min(nodes, len(names))):
        if all(path[:-1] in chosen or len(path) == 1 for path in chosen):
            sums.append(sum(places[path] for path in chosen))
    return max(sums)


def test_the_best_known_tree_is_that_of_all_trees() -> None:
    """Whole distributions over 3 tokens, drafts of up to 4 nodes, every tree of known nodes tried."""
    random = Random(1)
    for _ in range(60):
        n = random.randint(1, 4)
        parents = tuple(random.randint(-1, i - 1) for i in range(n))
        tokens = [random.randrange(3) for _ in range(n)]
        if len(set(zip(parents, tokens, strict=True))) < n:
            continue
        draft, known = Draft(tuple(tokens), parents), {}
        for node in range(-1, n):
            weights = [random.random() ** 3 for _ in range(3)]
            known[node] = {t: math.log(w / sum(weights)) for t, w in enumerate(weights)}
        best = best_known(draft, known, n)
        assert best == pytest.approx(all_trees(known, draft, n), rel=1e-12)
        assert expected(draft, known) <= best + 1e-12


def test_expected_is_the_mean_of_accepted() -> None:
    """Over many seeds, what wild trees are expected to have accepted is what they have."""
    steps = [
        step
        for seed in range(100)
        for own, _ in heard(Asking(wild(VOCAB, most=8, seed=2)), seed=seed).stretches
        for step in own
    ]
    gaps = [len(step.path) - expected(step.draft, step.likely) for step in steps]
    mean = sum(gaps) / len(gaps)
    error = math.sqrt(sum((gap - mean) ** 2 for gap in gaps)) / len(gaps)
    assert len(steps) > 1000 and error < 0.03 and abs(mean) < 4 * error


def test_the_formula() -> None:
    """v(r) = 1 + r / 10, p(r) = v(r) - 0.3: a pass of 4 rows and one branch wrote 3 tokens, twice; one read a
    prompt beside."""
    curve = Curve({1: 1.1, 2: 1.2, 64: 7.4})
    curve.single, curve.several = Line(0.0, 0.0), Line(-0.3, 0.0)
    passes = [Pass(4, 1, 3, False), Pass(4, 1, 3, False), Pass(40, 1, 1, True)]
    found = predicted(passes, curve, drafting=0.2)
    assert found == pytest.approx((2 * 3 * 0.8 + 5) / (2 * 1.4 + 5 + 0.2))
    assert predicted([], curve, 0.0) == 1.0


def test_predicted_and_measured_meet_on_a_machine_whose_passes_are_known() -> None:
    """A pass of r rows takes 1 + r / 10 seconds, alone or among several; the prompt's logits are known.

    Plain: the first token without a pass, 60 of a row. Drafted, three tokens a pass: 4 nodes, 18 times the
    tip and 4 nodes, then the room ends: the tip and 3 nodes, the tip alone.
    """
    sampling = Sampling(temperature=0.9, max_tokens=61, ignore_eos=True)
    now = 0.0
    lm = Engine(toy(LOGITS, VOCAB), clock=lambda: now)
    place: Any = lm.main
    place.backend.step_times = lambda: {1: 1.1, 512: 52.2}
    curve = place.curve()
    curve.observe, curve.single, curve.several = lambda *_: None, Line(0.0, 0.0), Line(0.0, 0.0)
    land = place.land

    def landing(flight: Any, result: Any) -> Any:
        nonlocal now
        now += flight.job.steps * (1 + len(flight.job.batch) / 10)
        return land(flight, result)

    place.land = landing
    drafter = Asking(right_then_wrong(written(sampling), right=2, nodes=4))
    found = diagnose(lm, [Request(Once(), "abc", seed=3, sampling=sampling, speculate=drafter)])
    speed = found.speed
    assert speed.plain_seconds == pytest.approx(60 * 1.1)
    assert speed.drafted_seconds == pytest.approx(1.4 + 18 * 1.5 + 1.4 + 1.1)
    assert speed.measured == pytest.approx(speed.plain_seconds / speed.drafted_seconds)
    assert speed.predicted == pytest.approx(speed.measured, rel=0.02)
    assert [v for rows, _, v in found.curve] == pytest.approx([1 + rows / 10 for rows in module.CURVE_ROWS])


def test_passes_are_heard_as_they_were() -> None:
    text = written(WARM)
    listener = heard(Asking(right_then_wrong(text, right=2, nodes=4)))
    assert [one.written for one in listener.passes] == [1, *[3] * 6, 2]
    assert [one.rows for one in listener.passes] == [3, *[5] * 6, 2], "the first is the prompt's"
    assert [one.prompt for one in listener.passes] == [True, *[False] * 7]


def test_nobody_pays_who_does_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole distributions are asked for under a listener that wants them alone; the text is the same."""
    asked: list[bool] = []
    texts = []
    for trace in (Trace(), Traces(Trace(), Trace()), Listener()):
        lm = engine()
        inner = lm.main.backend.draw  # type: ignore[union-attr]

        def draw(logits: Any, draws: Sequence[Draw], inner: Any = inner) -> Any:
            asked.append(any(one.is_whole for one in draws))
            return inner(logits, draws)

        lm.main.backend.draw = draw  # type: ignore[union-attr]
        lm.trace = trace
        asked.clear()
        drafter = Asking(wild(VOCAB, most=6))
        texts.append(lm.run(Request(Vote(n=3), "abc", sampling=WARM, speculate=drafter)).text)
        assert any(asked) == isinstance(trace, Listener)
        if isinstance(trace, Listener):
            assert len(trace.stretches) == 3
    assert len(set(texts)) == 1


def test_a_diagnosis_of_requests() -> None:
    lm = engine()
    drafter = Asking(wild(VOCAB, most=6))
    runs: list[int] = []
    asked = [Request(Once(), "abc", seed=i, sampling=WARM, speculate=drafter) for i in range(3)]
    found = diagnose(lm, asked, lambda: runs.append(1))
    assert len(runs) == 9 and found.speed.identical and lm.trace.__class__ is Trace
    assert sum(d.accepted for d in found.depths) == sum(b.accepted for b in found.bins) > 0
    assert found.trees.accepted <= found.trees.hindsight and found.trees.expected <= found.trees.best_known
    assert found.speed.tokens_per_pass > 1 and [rows for rows, _, _ in found.curve] == list(module.CURVE_ROWS)
    assert json.loads(json.dumps(found.as_dict()))["trees"]["steps"] == found.trees.steps
    for panel in draw(found).axes:
        (left, right), (bottom, top) = panel.get_xlim(), panel.get_ylim()
        for x, y in (point for line in panel.lines for point in line.get_xydata()):
            assert left <= x <= right and bottom <= y <= top, "outside of its panel"
        assert all(bar.get_height() <= top for bar in panel.patches)


def test_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    given = ["diagnose", "--model", "pocket-mini", "-n", "1", "--max-tokens", "16", "--strategy", "vote(n=2)"]
    assert command([*given, "--json", "--out", str(tmp_path / "a" / "d.png")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["speed"]["identical"] and told["trees"]["steps"] > 0 and told["by_position"][0]["low"] == 0
    assert (tmp_path / "a" / "d.png").read_bytes().startswith(b"\x89PNG")
    assert command(given) == 0
    assert "predicted" in capsys.readouterr().out
    assert command([*given, "--speculate", "none"]) == 2
    assert "name a drafter" in capsys.readouterr().err
    assert command([*given[:-2], "-n", "0"]) == 2
