"""All that the OpenAPI document allows, and much that it does not: no 500, and errors in their shape."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core import NotSet
from served import Served

from outthink.serve.openapi import document

SCHEMA = schemathesis.openapi.from_dict(document())
ERROR = jsonschema_rs.validator_for(document()["components"]["schemas"]["Error"])
POSTS = ("/v1/chat/completions", "/v1/completions")
STATUSES = (200, 400, 404, 413, 415)
QUICK = settings(
    max_examples=60,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def judge(reply: requests.Response) -> None:
    assert reply.status_code in STATUSES, f"{reply.status_code}: {reply.text}"
    if reply.status_code != 200:
        ERROR.validate(reply.json())


def bounded(body: Any, is_served: bool) -> Any:
    """The same, small where it is a request at all: what it costs is another test's matter."""
    if not isinstance(body, dict):
        return body
    small: dict[str, Any] = {"budget": {"written": 6}}
    if is_served:
        small |= {
            "model": "pocket",
            "logit_bias": None,
            "strategy": None,
            "verifier": None,
            "speculate": None,
        }
        small |= {"prompt": "1 + 1\n"} if "prompt" in body else {}
    if isinstance(body.get("n"), int) and body["n"] > 3:
        small["n"] = 3
    return body | small


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda m: m.value)
@pytest.mark.parametrize("path", POSTS)
def test_no_body_breaks_the_server(server: Served, path: str, mode: GenerationMode) -> None:
    seen: dict[int, int] = {}

    @QUICK
    @given(case=SCHEMA[path]["post"].as_strategy(mode), is_served=st.booleans())
    def one(case: Any, is_served: bool) -> None:
        body = bounded(case.body, is_served)
        headers = {"Content-Type": case.media_type or "application/json"}
        reply = requests.post(server.url + path, data=_raw(body), headers=headers, timeout=120)
        seen[reply.status_code] = seen.get(reply.status_code, 0) + 1
        judge(reply)

    one()
    assert seen[400]
    assert mode is GenerationMode.NEGATIVE or seen[200] > 3  # it reached the model
    assert server.settles("live_branches", 0)


def _raw(body: Any) -> bytes:
    if isinstance(body, NotSet):
        return b""
    return body if isinstance(body, bytes) else json.dumps(body).encode()


CALLS = st.from_regex(r"[a-z_]{1,12}\(([a-z]{1,6}=[\w()']{1,12},? ?){0,3}\)", fullmatch=True)


@QUICK
@given(text=st.text(max_size=80) | CALLS)
def test_no_strategy_breaks_the_server(server: Served, text: str) -> None:
    for body in (
        {"strategy": text},
        {"model": f"pocket+{text}"},
        {"strategy": "best_of_n", "verifier": text},
    ):
        reply = server.post(**body, budget={"written": 4})
        judge(reply)


def test_every_reply_is_as_the_document_says(server: Served) -> None:
    for path in ("/v1/models", "/v1/models/pocket", "/health", "/metrics", "/openapi.json", "/", "/docs"):
        assert requests.get(server.url + path, timeout=60).status_code == 200
    assert requests.get(f"{server.url}/openapi.json", timeout=60).json() == document()
