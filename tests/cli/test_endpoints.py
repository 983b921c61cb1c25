"""`probe` and `--model URL` at the command line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import Run

from outthink.testing.endpoint import Endpoint, Powers, writes


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint(writes(lambda question: {"One, two.\nA: 2\n": 0.5, "Two at once.\nA: 2\n": 0.5})) as made:
        yield made


def test_probe_prints_what_was_found(outthink: Run, endpoint: Endpoint) -> None:
    ran = outthink("probe", endpoint.url)
    assert ran.code == 0 and "top_logprobs" in ran.out and "strategies may count on: generate" in ran.out


def test_probe_as_json_is_one_object(outthink: Run, endpoint: Endpoint) -> None:
    endpoint.powers = Powers(logprobs="high", n=False)
    found = outthink("probe", endpoint.spec, "--json").json
    checks = {check["name"]: check for check in found["checks"]}
    assert checks["logprobs"]["found"] == "no" and "sum to" in checks["logprobs"]["note"]
    assert found["features"]["n"] is False and found["endpoints"] == [{"url": endpoint.url, "model": "fake"}]
    assert "logprobs" not in found["can"]


def test_solve_runs_on_an_endpoint(outthink: Run, endpoint: Endpoint) -> None:
    given = ("--model", endpoint.spec, "--strategy", "vote(n=3)", "--prices", "1,2")
    found = outthink("solve", "How many?", *given, "--json").json
    assert found["final"] == "2" and found["receipt"]["best_effort"] and found["receipt"]["estimated"]
    assert found["receipt"]["actual"]["dollars"] > 0
    told = outthink("solve", "How many?", *given)
    assert "estimated: seed: best effort" in told.out and "dollars" in told.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("probe", "localhost:8000"), "is no endpoint: give http://HOST:PORT/v1#MODEL"),
        (("probe",), "give an endpoint"),
        (("probe", "http://127.0.0.1:9/v1"), "is the server up?"),
        (("solve", "x", "--model", "http://127.0.0.1:9/v1", "--speculate", "auto"), "leave speculate out"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(outthink: Run, words: tuple[str, ...], said: str) -> None:
    ran = outthink(*words)
    assert ran.code in (1, 2) and said in ran.err and ran.err.count("\n") == 1


def test_wrong_options_of_an_endpoint(outthink: Run, endpoint: Endpoint) -> None:
    assert (
        "cannot read 'cheap' as prices"
        in outthink("solve", "x", "--model", endpoint.url, "--prices", "cheap").err
    )
    assert "did you mean 'fake'" in outthink("solve", "x", "--model", f"{endpoint.url}#fale").err
