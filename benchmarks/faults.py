"""A thousand requests through a proxy that breaks a third of them: `python -m benchmarks.faults`.

Every one must end in a right answer or a clear error, none counted twice, nothing left, nothing hung. The
endpoint is the package's own (its answers are known); a third of the problems goes to a strategy that needs
log-probabilities, which ends in an error where the proxy leaves them out.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from typing import Any

import outthink as ot
from outthink import strategy, verify
from outthink.backends.openai import connect
from outthink.backends.remote.network import Timeouts
from outthink.core.problem import Problem
from outthink.core.rng import uniform
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.testing.endpoint import Endpoint, writes
from outthink.testing.proxy import FAULTS, Proxy

SHARE = 1 / 3
QUICK = Timeouts(connect=5.0, silence=3.0, whole=60.0)
GREEDY = ot.Sampling(temperature=0.0)


def answer_to(question: str) -> str:
    a, b = (int("".join(c for c in part if c.isdigit())) for part in question.split("+"))
    return f"{a} + {b} = {a + b}\nA: {a + b}\n"


def texts(question: str) -> dict[str, float]:
    return {answer_to(question): 1.0} if "+" in question else {"One, two, three.": 0.6, "Two. Or one.": 0.4}


def plan(number: int, path: str) -> str:
    """A fault for a third of the requests, each kind as often, by a hash of the request's number."""
    if uniform(2026, number) > SHARE:
        return ""
    return FAULTS[int(uniform(2026, number, 1) * len(FAULTS))]


def judge(done: Any) -> str:
    """right, error, or what is wrong."""
    problem, answer = done.request.problem, done.answer
    if done.error is not None:
        return f"error: {type(done.error).__name__}"
    text, receipt = answer_to(problem.prompt), answer.receipt
    if answer.text != text:
        return "WRONG TEXT"
    is_counted_once = receipt.logical.written in (len(text), len(text) + 1)
    return "right" if is_counted_once else "WRONG COUNT"


def run(count: int, concurrency: int) -> dict[str, Any]:
    """The whole trial; what came of it."""
    best = strategy.BestOfN(verify.Likelihood(), n=1)
    problems = [Problem(f"What is {i} + {3 * i + 1}?", id=str(i)) for i in range(count)]
    requests = [
        Request(best if i % 3 == 0 else strategy.Once(), p, sampling=GREEDY) for i, p in enumerate(problems)
    ]
    with Endpoint(writes(texts)) as endpoint, Proxy(endpoint.url) as proxy:
        engine = Engine(connect(f"{proxy.url}#fake", timeouts=QUICK, attempts=8))
        proxy.plan, proxy.number = plan, 0
        began, ids, verdicts = time.perf_counter(), Counter[str](), Counter[str]()
        for done in engine.map(requests, concurrency=concurrency):
            assert isinstance(done.request.problem, Problem)
            ids[done.request.problem.id] += 1
            verdicts[judge(done)] += 1
        seconds = time.perf_counter() - began
        place: Any = engine.main
        time.sleep(0.2)
        left = {
            "branches": sum(len(node.cursors) for node in place.tree.nodes()),
            "work": len(place.works) + len(place.sent),
            "calls": len(place.backend._calls),
        }
        engine.close()
    return {
        "problems": count,
        "ended once": sum(n == 1 for n in ids.values()),
        "verdicts": dict(verdicts),
        "requests": proxy.number,
        "faults": dict(proxy.done),
        "left": left,
        "seconds": round(seconds, 1),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--n", type=int, default=1000)
    arguments.add_argument("--concurrency", type=int, default=32)
    given = arguments.parse_args()
    found = run(given.n, given.concurrency)
    print(json.dumps(found, indent=1))
    wrong = [verdict for verdict in found["verdicts"] if verdict.startswith("WRONG")]
    raise SystemExit(bool(wrong) or found["ended once"] != given.n or any(found["left"].values()))


if __name__ == "__main__":
    main()
