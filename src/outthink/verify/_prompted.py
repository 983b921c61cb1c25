"""What verifiers that ask a model share: templates, and the texts that go into them."""

from __future__ import annotations

import re

from outthink.core.branch import Branch
from outthink.core.errors import BadInput, PromptTooLong
from outthink.core.types import Candidate

JUDGE = (
    "Here is a question and a proposed answer. Check the answer step by step. End with one line: "
    "`Verdict: correct` or `Verdict: incorrect`.\n\nQuestion:\n{question}\n\nProposed answer:\n{answer}"
)
GRADE = (
    "Here is a question and a proposed answer. Grade the answer from 0 (useless) to 10 (right and complete). "
    "End with one line: `Score: <number>`.\n\nQuestion:\n{question}\n\nProposed answer:\n{answer}"
)
TRUE_OR_FALSE = (
    "Question:\n{question}\n\nProposed answer:\n{answer}\n\nIs the proposed answer true or false? "
    "Answer with one word."
)


def check_template(prompt: str) -> None:
    """Raise ValueError for a template without its two places."""
    lacking = [place for place in ("{question}", "{answer}") if place not in prompt]
    if lacking:
        raise ValueError(f"prompt={prompt[:40]!r}: put {' and '.join(lacking)} where they belong")


def filled(prompt: str, candidate: Candidate) -> str:
    """The template with the question and the candidate's text; braces in these stay what they are."""
    if candidate.problem is None:
        raise BadInput("a prompted verifier needs the problem that the candidate answers; this one has none")
    values = {"{question}": candidate.problem.prompt, "{answer}": candidate.text}
    return re.sub(r"\{question\}|\{answer\}", lambda m: values[m[0]], prompt)


async def asked(who: str, prompt: str, candidate: Candidate, model: str | None) -> Branch | None:
    """A branch that the question about a candidate is put on; None, said on the receipt, where it does not
    fit the model's context. BadInput for a recorded candidate."""
    if candidate.branch is None:
        raise BadInput(f"{who}() asks a model; a recorded candidate has no branch to ask from")
    try:
        return await candidate.branch.ask(filled(prompt, candidate), model)
    except PromptTooLong as error:
        candidate.branch.degrade(who, f"a candidate was not judged: {error}")
        return None
