"""What the server does not take, and what nobody can make it do."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import requests
from served import Served

PICTURE = {"type": "image_url", "image_url": {"url": "x"}}
WRONG: list[tuple[dict[str, Any], str, str | None]] = [
    ({"temperature": 3}, "temperature: Input should be less than or equal to 2", "temperature"),
    ({"temperature": "1"}, "temperature: Input should be a valid number", "temperature"),
    ({"temperture": 1}, "unknown field 'temperture'; did you mean temperature?", None),
    ({"n": 0}, "n: Input should be greater than or equal to 1", "n"),
    ({"stop": ""}, "stop", "stop"),
    ({"stop": ["x"] * 17}, "stop: List should have at most 16 items", "stop"),
    ({"budget": {"written": -1}}, "budget.written: Input should be greater", "budget.written"),
    ({"temperture": False}, "unknown field 'temperture'", None),
    ({"nobody": []}, "unknown field 'nobody'", None),
    ({"min_tokens": 1}, "min_tokens is not supported yet", None),
    ({"skip_special_tokens": False}, "skip_special_tokens is not supported yet", None),
    ({"prompt_logprobs": 1, "stream": True}, "prompt_logprobs cannot be streamed", "stream"),
    ({"messages": []}, "messages: List should have at least 1 item", "messages"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role: Input should be 'system'", None),
    ({"messages": [{"role": "user", "content": "\ud800"}]}, "half of a surrogate pair", None),
    ({"messages": [{"role": "user", "content": "x" * 4000}]}, "accepts 2048, answer included", None),
    (
        {"messages": [{"role": "user", "content": [PICTURE]}]},
        "'image_url' is not supported yet; 'text' is",
        None,
    ),
    ({"tools": [{"type": "function"}]}, "tools is not supported yet", None),
    ({"response_format": {"type": "json_object"}}, "'json_object' is not supported yet; 'text' is", None),
    ({"top_logprobs": 3}, "top_logprobs needs logprobs", None),
    ({"logit_bias": {"x": 1}}, "'x' is no token id", None),
    ({"logit_bias": {"999999": 1}}, "token 999999 is outside the vocabulary", None),
    ({"max_tokens": 3, "max_completion_tokens": 4}, "differ", None),
    ({"strategy": "vote(n=0)"}, "vote: n=0: give at least 1", None),
    ({"strategy": "vot"}, "did you mean 'vote'", None),
    ({"strategy": "__import__('os')"}, "", None),
    ({"strategy": "vote(inner=" * 30 + "once()" + ")" * 30}, "nested deeper than 20", None),
    ({"strategy": "vote(n=500)"}, "more than 256 live branches", None),
    ({"strategy": "vote", "model": "pocket+vote"}, "given twice", None),
    ({"strategy": "vote", "verifier": "likelihood()"}, "vote takes no", None),
    ({"strategy": "best_of_n(verifier=steps())"}, "steps() needs a problem of a task", None),
    ({"speculate": "store(path='/etc/passwd')"}, "not marked remote_safe", None),
    ({"speculate": "hierarchy(drafters=(copy(), draft_model()))"}, "not marked remote_safe", None),
    ({"strategy": "best_of_n(verifier=unit_tests(tests='1'))"}, "not marked remote_safe", None),
    ({"strategy": "vote(n=10001)"}, "from elsewhere, give at most 10000", None),
    ({"speculate": "nobody"}, "no drafter named 'nobody'", None),
    ({"budget": {"written": 0}}, "budget", None),
    ({"budget": "written=x"}, "budget written='x' is not a number", None),
    ({"budget": {"tokens": 9}}, "unknown field 'tokens'", None),
    ({"continue_final_message": True, "add_generation_prompt": True}, "add_generation_prompt=false", None),
    ({"top_k": 3, "extra_body": {"top_k": 4}}, "'top_k' is given twice", "top_k"),
    ({"extra_body": {"tok_k": 4}}, "unknown field 'tok_k'; did you mean top_k?", None),
    ({"extra_body": [1]}, "unknown field 'extra_body'", None),
    ({"seed": 2**70}, "seed: Input should be less than", "seed"),
]


@pytest.mark.parametrize(("body", "said", "param"), WRONG, ids=lambda v: str(v)[:40])
def test_what_is_wrong_is_said_in_openais_shape(
    server: Served, body: dict[str, Any], said: str, param: str | None
) -> None:
    reply = server.post(**{"max_tokens": 4, **body})
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert error["type"] == "invalid_request_error" and set(error) == {"message", "type", "param", "code"}
    assert said in error["message"] or (said == "vote takes no" and "no field of vote" in error["message"])
    assert param is None or error["param"] == param
    assert len(error["message"]) < 1000


NEUTRAL: list[dict[str, Any]] = [
    {"tools": [], "tool_choice": "none", "parallel_tool_calls": False},
    {"min_tokens": 0, "best_of": 1, "length_penalty": 1.0, "skip_special_tokens": True, "suffix": ""},
    {"store": True, "nobody": None, "stream_options": None},
    {"messages": [{"role": "user", "content": "x", "tool_calls": [], "refusal": None}]},
]


@pytest.mark.parametrize("body", NEUTRAL, ids=lambda body: next(iter(body)))
def test_fields_that_ask_for_nothing_are_taken(server: Served, body: dict[str, Any]) -> None:
    """Clients send them with every request."""
    plain = server.post(max_tokens=4, seed=1, messages=[{"role": "user", "content": "x"}]).json()
    given = {"messages": [{"role": "user", "content": "x"}]} | body
    reply = server.post(max_tokens=4, seed=1, **given)
    assert reply.status_code == 200, reply.text
    assert reply.json()["choices"][0]["message"] == plain["choices"][0]["message"]


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b'{"model": "pocket", "messages": NaN}', 400),
        (b'{"model": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
        (b'{"x":' * 40 + b"1" + b"}" * 40, 400),
        (b'{"seed": ' + b"9" * 10_000 + b"}", 400),
        (b'{"model": "\xff"}', 400),
        (b'"' + b"x" * 5_000_000 + b'"', 413),
    ],
    ids=["empty", "list", "nan", "deep", "nested", "digits", "latin", "long"],
)
def test_bodies_that_are_no_request(server: Served, raw: bytes, status: int) -> None:
    headers = {"Content-Type": "application/json"}
    reply = requests.post(f"{server.url}/v1/chat/completions", data=raw, headers=headers, timeout=60)
    assert reply.status_code == status and reply.json()["error"]["message"]
    assert server.post(max_tokens=1).status_code == 200


def test_other_pages_and_names_are_kept_out(server: Served) -> None:
    """A form on a web page can post text without being asked; a name may be made to lead to this machine."""
    body = json.dumps({"model": "pocket", "messages": [{"role": "user", "content": "hi"}]})
    url = f"{server.url}/v1/chat/completions"
    reply = requests.post(url, data=body, headers={"Content-Type": "text/plain"}, timeout=60)
    assert reply.status_code == 415
    reply = requests.post(url, data=body, headers={"Host": "evil.example:80"}, timeout=60)
    assert reply.status_code == 403
    reply = requests.options(url, headers={"Origin": "https://evil.example"}, timeout=60)
    assert reply.status_code == 405
    assert not [name for name in reply.headers if name.lower().startswith("access-control")]
    assert requests.get(f"{server.url}/nothing", timeout=60).json()["error"]["type"] == "not_found_error"


def test_it_listens_to_this_machine_only(server: Served) -> None:
    with socket.socket() as probe:
        probe.settimeout(5)
        probe.connect(("127.0.0.1", server.port))
    with socket.socket() as probe, pytest.raises(OSError):
        probe.settimeout(5)
        probe.connect(("127.0.0.2", server.port))


def test_a_prompt_made_to_never_end_costs_its_cap_and_no_more(server: Served) -> None:
    """The server's cap is 800 tokens; a normal request beside it writes what it writes alone."""
    alone = server.post(seed=3).json()["choices"]
    endless = {"ignore_eos": True, "n": 4, "logit_bias": {"2": -100}}
    reply = server.post(stream=True, stream_reply=True, seed=1, **endless)
    beside = server.post(seed=3).json()["choices"]
    last = [line for line in reply.iter_lines() if b"receipt" in line][-1]
    receipt = json.loads(last.removeprefix(b"data: "))["outthink"]["receipt"]
    assert 800 - 2 * 5 < receipt["actual"]["written"] <= 800  # it ends before a pass that could exceed it
    assert receipt["logical"]["written"] == receipt["actual"]["written"]
    assert receipt["finish"] == "budget: written=800 in run"
    assert beside == alone


def test_bad_starts_say_what_would_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from outthink import cli

    empty = tmp_path / "keys.txt"
    empty.write_text("# nothing\n")
    short = tmp_path / "short.txt"
    short.write_text("bob: secret\n")
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    for options, said in [
        (["--keys", str(empty)], "holds no key"),
        (["--keys", str(short)], "short.txt:1: a key is 16 or more"),
        (["--max-running", "0"], "max_running"),
        (["--port", str(taken.getsockname()[1])], "cannot listen at 127.0.0.1"),
        (["--model", "pockt", "--port", "0"], "did you mean 'pocket'"),
    ]:
        assert cli.run(["serve", *options]) == 2
        told = capsys.readouterr().err
        assert said in told and "secret" not in told
    taken.close()
