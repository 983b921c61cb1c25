"""OpenAI's own client, unmodified; every text and count is compared with a run in this process."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest
from served import QUESTION, Served

import outthink as ot
from outthink import spec
from outthink.core.branch import Branch
from outthink.core.types import Answer, Budget, Sampling, Want
from outthink.engine.engine import Engine
from outthink.engine.request import Request

ASKED: list[Any] = [{"role": "user", "content": QUESTION}]
PLAIN = Sampling(temperature=1.0)


def run(here: Engine, strategy: str, sampling: Sampling = PLAIN, seed: int = 0, **given: Any) -> Answer:
    return here.run(Request(spec.parse(strategy), QUESTION, seed=seed, sampling=sampling, **given))


CASES: list[tuple[str, dict[str, Any], Sampling]] = [
    ("greedy", {}, PLAIN),
    ("once", {"temperature": 0}, Sampling(temperature=0.0)),
    ("once", {"temperature": 0.7, "top_p": 0.9}, Sampling(temperature=0.7, top_p=0.9)),
    ("once", {"max_tokens": 9}, Sampling(temperature=1.0, max_tokens=9)),
    ("once", {"stop": "\n"}, Sampling(temperature=1.0, stop=("\n",))),
    ("once", {"stop": ["= 1", "A:"]}, Sampling(temperature=1.0, stop=("= 1", "A:"))),
    ("once", {"presence_penalty": 1.5, "frequency_penalty": 0.5},
     Sampling(temperature=1.0, presence_penalty=1.5, frequency_penalty=0.5)),
    ("once", {"logit_bias": {"40": -100, "41": 5}},
     Sampling(temperature=1.0, logit_bias=((40, -100.0), (41, 5.0)))),
    ("once", {"extra_body": {"top_k": 3, "min_p": 0.1, "repetition_penalty": 1.2}},
     Sampling(temperature=1.0, top_k=3, min_p=0.1, repetition_penalty=1.2)),
    ("once", {"stop": "=", "extra_body": {"include_stop_str_in_output": True}},
     Sampling(temperature=1.0, stop=("=",), keep_stop=True)),
    ("once", {"max_tokens": 60, "extra_body": {"ignore_eos": True}},
     Sampling(temperature=1.0, max_tokens=60, ignore_eos=True)),
    ("vote(n=4)", {}, PLAIN),
    ("adaptive_vote(n=6, wave=2)", {}, PLAIN),
    ("best_of_n(verifier=likelihood(), n=3)", {}, PLAIN),
]  # fmt: skip


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("strategy", "fields", "sampling"), CASES, ids=lambda v: str(v)[:50])
def test_the_text_and_the_bill_are_those_of_this_process(
    server: Served, here: Engine, strategy: str, fields: dict[str, Any], sampling: Sampling, is_streamed: bool
) -> None:
    expected = run(here, strategy, sampling, seed=11)
    assert expected.receipt is not None
    create = server.client().chat.completions.create
    asked: dict[str, Any] = {"model": f"pocket+{strategy}", "messages": ASKED, "seed": 11, **fields}
    if is_streamed:
        chunks = list(create(**asked, stream=True, stream_options={"include_usage": True}))
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        usage, receipt, said = chunks[-1].usage, chunks[-1].outthink["receipt"], chunks[-2].choices[0]
        assert all(c.usage is None for c in chunks[:-1])
    else:
        reply = create(**asked)
        text, usage, receipt, said = (
            reply.choices[0].message.content, reply.usage, reply.outthink["receipt"], reply.choices[0]
        )  # fmt: skip
    assert text == expected.text
    assert receipt["logical"] == expected.receipt.logical.as_dict()
    assert (receipt["seed"], receipt["config"]) == (11, repr(spec.parse(strategy)))
    assert usage.completion_tokens == expected.receipt.logical.written
    assert usage.prompt_tokens == len(here.main.tokenizer.chat(ASKED))
    assert usage.completion_tokens_details.reasoning_tokens == usage.completion_tokens - expected.tokens
    assert said.finish_reason == ("length" if expected.finish == "length" else "stop")


def test_the_asynchronous_client_in_company(server: Served, here: Engine) -> None:
    """Twelve at once, streamed and not, each with its own seed."""

    async def one(client: Any, seed: int) -> str:
        asked = {"model": "pocket", "messages": ASKED, "seed": seed}
        if seed % 2:
            return str((await client.chat.completions.create(**asked)).choices[0].message.content)
        stream = await client.chat.completions.create(**asked, stream=True)
        return "".join([c.choices[0].delta.content or "" async for c in stream])

    async def all_of_them() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="x", timeout=120) as client:
            return await asyncio.gather(*(one(client, seed) for seed in range(12)))

    assert asyncio.run(all_of_them()) == [run(here, "once", seed=seed).text for seed in range(12)]


def test_eight_votes_cost_one_prompt(server: Served) -> None:
    question = "Tom has 21 pens. He gives away 4 and buys 2 boxes of 5. How many pens does Tom have?"
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": question}], "seed": 5}
    reply = server.client().chat.completions.create(model="pocket+vote(n=8)", **asked)
    alone = ot.load("pocket", dtype="float64", threads=1)
    expected = alone.run(Request(spec.parse("vote(n=8)"), question, seed=5, sampling=PLAIN))
    logical, actual = reply.outthink["receipt"]["logical"], reply.outthink["receipt"]["actual"]
    assert expected.receipt is not None
    assert actual["positions"] <= expected.receipt.actual.positions  # fewer where prompts began alike
    assert logical["positions"] == expected.receipt.logical.positions
    assert (
        reply.usage.prompt_tokens
        == logical["read"]
        < actual["positions"]
        < 2 * logical["read"] + logical["written"]
    )
    assert actual["positions"] < logical["read"] + logical["written"]


def test_n_answers_share_a_prompt_and_are_independent(server: Served, here: Engine) -> None:
    reply = server.client().chat.completions.create(model="pocket", messages=ASKED, n=5, seed=2)
    assert [c.index for c in reply.choices] == list(range(5))
    expected = run(here, "vote(n=5)", seed=2)  # which forks five from the root, too
    assert expected.receipt is not None
    texts = {c.message.content for c in reply.choices}
    assert texts == {expected.text, *(o.text for o in expected.others)} and len(texts) > 2
    assert reply.outthink["receipt"]["logical"] == expected.receipt.logical.as_dict()
    assert reply.usage.completion_tokens == expected.receipt.logical.written
    chunks = server.client().chat.completions.create(
        model="pocket", messages=ASKED, n=5, seed=2, stream=True, stop=["zzz"]
    )
    streamed = dict.fromkeys(range(5), "")
    for chunk in chunks:
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert list(streamed.values()) == [c.message.content for c in reply.choices]


def test_logprobs_are_those_of_the_model(server: Served, here: Engine) -> None:
    """Told ones against the same tokens scored as a forced continuation; streamed ones are the same."""
    sampling, seen = Sampling(temperature=1.0, max_tokens=12), {}

    class Score:
        async def __call__(self, root: Branch, /) -> Answer:
            await root.generate(sampling)
            [again] = root.fork()
            again.rewind(0)
            seen["rows"] = await again.extend(root.tokens, Want(top=3))
            return Answer(root.text())

    expected = here.run(Request(Score(), QUESTION, seed=4))
    create = server.client().chat.completions.create
    asked: dict[str, Any] = {"model": "pocket", "messages": ASKED, "seed": 4, "max_tokens": 12}
    reply = create(**asked, logprobs=True, top_logprobs=3).choices[0]
    entries = reply.logprobs.content
    assert "".join(e.token for e in entries) == reply.message.content == expected.text
    assert [e.logprob for e in entries] == pytest.approx(seen["rows"].logprobs)
    for entry, dist in zip(entries, seen["rows"].dists, strict=True):
        assert [t.logprob for t in entry.top_logprobs] == pytest.approx([p for _, p in dist.top])
    chunks = create(**asked, logprobs=True, top_logprobs=3, stream=True)
    told = [e for c in chunks if c.choices[0].logprobs for e in c.choices[0].logprobs.content]
    assert told == entries
    assert not create(**asked, logprobs=True).choices[0].logprobs.content[0].top_logprobs


def test_a_prompt_is_scored_as_extend_scores_it(server: Served, here: Engine) -> None:
    """What log-likelihood benchmarks do: echo, logprobs, nothing written; text and tokens as prompts."""
    text = "14 + 3 = 17\nA: 17"
    tokens = here.main.tokenizer.encode(text)
    seen: dict[str, Any] = {}

    class Score:
        async def __call__(self, root: Branch, /) -> Answer:
            seen["rows"] = await root.extend(tokens[1:], Want(top=2))
            return Answer("")

    here.run(Request(Score(), text, tokens=tuple(tokens[:1])))
    create = server.client().completions.create
    for prompt in (text, tokens, [text], [tokens]):
        reply = create(model="pocket", prompt=prompt, echo=True, logprobs=2, max_tokens=0)
        told = reply.choices[0].logprobs
        assert reply.choices[0].text == text and reply.usage.completion_tokens == 0
        assert told.token_logprobs[0] is None and told.top_logprobs[0] is None
        assert told.token_logprobs[1:] == pytest.approx(seen["rows"].logprobs)
        for entry, dist in zip(told.top_logprobs[1:], seen["rows"].dists, strict=True):
            assert max(entry.values()) == pytest.approx(dist.top[0][1])
        assert "".join(told.tokens) == text and told.text_offset[:2] == [0, len(told.tokens[0])]
    assert reply.usage.prompt_tokens == len(tokens)
    both = create(model="pocket", prompt=text, echo=True, logprobs=1, max_tokens=1, temperature=0)
    assert both.choices[0].logprobs.token_logprobs[1:-1] == pytest.approx(seen["rows"].logprobs)


@pytest.mark.parametrize("most", [0, 9])
def test_a_stream_tells_of_the_prompt_what_a_whole_reply_does(server: Served, most: int) -> None:
    create = server.client().completions.create
    prompts = ["Q: 1 + 1\n", "Q: 22 + 3\n"]
    asked: dict[str, Any] = {"echo": True, "logprobs": 2, "max_tokens": most, "n": 1 + most % 2, "seed": 5}
    whole = create(model="pocket", prompt=prompts, **asked)
    told: list[dict[str, list[Any]]] = [{} for _ in whole.choices]
    texts = [""] * len(told)
    for chunk in create(model="pocket", prompt=prompts, stream=True, **asked):
        [choice] = chunk.choices
        texts[choice.index] += choice.text
        for name, values in (choice.logprobs.model_dump() if choice.logprobs else {}).items():
            told[choice.index].setdefault(name, []).extend(values)
    assert texts == [choice.text for choice in whole.choices]
    assert rounded(told) == rounded([choice.logprobs.model_dump() for choice in whole.choices])


def rounded(found: Any) -> Any:
    """Numbers as far as they do not depend on company."""
    return json.loads(json.dumps(found), parse_float=lambda digits: round(float(digits), 9))


@pytest.mark.parametrize("stream", [False, True])
def test_the_end_token_is_told_like_any_other(server: Served, here: Engine, stream: bool) -> None:
    """As many entries as tokens were written, and the last, which has no text, is the end."""
    told = server.client().chat.completions.create(
        model="pocket", messages=ASKED, seed=4, logprobs=True, stream=stream
    )
    choices = [c.choices[0] for c in told] if stream else told.choices
    entries = [e for c in choices if c.logprobs for e in c.logprobs.content]
    expected = run(here, "once", seed=4)
    assert "".join(e.token for e in entries) == expected.text and expected.finish == "eos"
    assert len(entries) == expected.tokens and entries[-1].token == ""


def test_a_text_is_scored_whole_where_the_model_would_end(server: Served, here: Engine) -> None:
    """Clients ask for one token more than they score and leave the last entry out; here it is the end."""
    text = f"Q: {QUESTION}\n{run(here, 'greedy').text}"
    ask = {"echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}
    reply = server.client().completions.create(model="pocket", prompt=text, **ask)
    told = reply.choices[0].logprobs
    assert reply.choices[0].finish_reason == "stop" and reply.usage.completion_tokens == 1
    assert len(told.token_logprobs) == len(here.main.tokenizer.encode(text)) + 1
    assert told.tokens[-1] == "" and told.top_logprobs[-1] == {"": told.token_logprobs[-1]}


def test_several_prompts_come_back_in_order(server: Served, here: Engine) -> None:
    prompts = ["Q: 1 + 1\n", "Q: 2 + 2\n", "Q: 3 + 3\n"]
    create = server.client().completions.create
    reply = create(model="pocket", prompt=prompts, n=2, seed=1, max_tokens=8)
    alone = [create(model="pocket", prompt=p, n=2, seed=1, max_tokens=8) for p in prompts]
    assert [c.text for c in reply.choices] == [c.text for one in alone for c in one.choices]
    assert reply.usage.total_tokens == sum(one.usage.total_tokens for one in alone)
    assert len(reply.outthink["receipts"]) == 3
    streamed = [""] * 6
    for chunk in create(model="pocket", prompt=prompts, n=2, seed=1, max_tokens=8, stream=True, echo=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].text
    assert streamed == [
        p + c.text for p, c in zip([p for p in prompts for _ in "12"], reply.choices, strict=True)
    ]


def test_a_last_message_is_continued(server: Served, here: Engine) -> None:
    whole = run(here, "greedy").text
    begun = [*ASKED, {"role": "assistant", "content": whole[:9]}]
    create = server.client().chat.completions.create
    more = {"add_generation_prompt": False, "continue_final_message": True}
    reply = create(model="pocket+greedy", messages=begun, extra_body=more)
    assert reply.choices[0].message.content == whole[9:]
    scored = create(model="pocket+greedy", messages=ASKED, extra_body={"prompt_logprobs": 1})
    tokens = here.main.tokenizer.chat(ASKED)
    told = scored.prompt_logprobs
    assert told[0] is None and len(told) == len(tokens)
    assert all(str(token) in entry for token, entry in zip(tokens[1:], told[1:], strict=True))
    assert [c.message.content for c in scored.choices] == [whole]


def test_our_fields_in_the_body(server: Served, here: Engine) -> None:
    extra = {
        "strategy": "best_of_n(n=3)",
        "verifier": "certainty()",
        "budget": {"written": 60},
        "speculate": "none",
    }
    reply = server.client().chat.completions.create(model="pocket", messages=ASKED, seed=9, extra_body=extra)
    expected = run(here, "best_of_n(verifier=certainty(), n=3)", seed=9, budget=Budget(written=60))
    assert expected.receipt is not None
    assert reply.choices[0].message.content == expected.text
    assert reply.outthink["receipt"]["finish"] == expected.receipt.finish == "budget: written=60 in run"
    assert reply.usage.completion_tokens == 60
    as_text = server.client().chat.completions.create(
        model="pocket", messages=ASKED, seed=9, extra_body={**extra, "budget": "written=60"}
    )
    assert as_text.outthink["receipt"]["logical"] == reply.outthink["receipt"]["logical"]


DRAFTERS = ("auto", "copy", "trie", "consensus", "recycling", "stand", "jacobi", "hierarchy")


@pytest.mark.parametrize("drafter", DRAFTERS)
def test_drafters_that_are_asked_for_change_the_receipt_alone(server: Served, drafter: str) -> None:
    create = server.client().chat.completions.create
    ask: dict[str, Any] = {"model": "pocket+vote(n=4)", "messages": ASKED, "seed": 6}
    plain = create(**ask, extra_body={"speculate": "none"}).outthink
    reply = create(**ask, extra_body={"speculate": drafter})
    receipt = reply.outthink["receipt"]
    assert reply.outthink["answers"] == plain["answers"]
    assert receipt["logical"] == plain["receipt"]["logical"] and not plain["receipt"].get("speculation")
    assert receipt["speculation"] and drafter in str(receipt)


def test_models_and_their_errors(server: Served) -> None:
    client = server.client()
    [model] = client.models.list()
    assert model.id == "pocket" and "vote" in model.strategies and "read_twice" not in model.strategies
    assert client.models.retrieve("pocket+vote(n=3)").id == "pocket+vote(n=3)"
    with pytest.raises(openai.NotFoundError, match="no model named 'gpt-4'"):
        client.chat.completions.create(model="gpt-4", messages=ASKED)
    with pytest.raises(openai.BadRequestError, match="did you mean 'vote'"):
        client.chat.completions.create(model="pocket+vot(n=3)", messages=ASKED)
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="pocket", input="x")


def test_a_whole_number_may_have_a_point(server: Served) -> None:
    plain = server.post(messages=ASKED, max_tokens=6, temperature=0, n=1)
    pointed = server.post(messages=ASKED, max_tokens=6.0, temperature=0.0, n=1.0)
    assert plain.status_code == pointed.status_code == 200
    assert plain.json()["choices"] == pointed.json()["choices"]
    assert server.post(messages=ASKED, max_tokens=6.5).status_code == 400
