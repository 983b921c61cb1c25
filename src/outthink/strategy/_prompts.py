"""Prompts of the strategies that talk to a model: the templates, filling them, and asking.

Every template is a field of its strategy; these are the defaults. An answer is asked for as a line `A: ...`,
which is what `text.final_answer` reads.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from outthink.core.branch import Branch
from outthink.core.errors import PromptTooLong
from outthink.core.types import Answer, Sampling
from outthink.strategy.once import write

END = "End with one line `A: <answer>`."

CRITIQUE = (
    "Question:\n{problem}\n\nProposed answer:\n{answer}\n\nCheck the proposed answer step by step. "
    "Name every mistake. If there is none, end with the line `No mistakes.`"
)
REVISE = (
    "Question:\n{problem}\n\nProposed answer:\n{answer}\n\nReview:\n{critique}\n\nWrite a better "
    "answer to the question. " + END
)
IMPROVE = (
    "Question:\n{problem}\n\nEarlier attempts, with their scores from a verifier (higher is "
    "better):\n{attempts}\n\nWrite an attempt that scores higher: keep what was good, repair what "
    "was not. " + END
)
WORKSPACE = (
    "Question:\n{problem}\n\nSeveral drafts of an answer:\n{drafts}\n\nDistil them into brief notes: "
    "what they agree on, where they contradict each other, which steps are wrong, what is worth "
    "keeping."
)
FROM_WORKSPACE = (
    "Question:\n{problem}\n\nNotes from earlier drafts:\n{workspace}\n\nAnswer the question. " + END
)
SEGMENT = (
    "Question:\n{problem}\n\nProgress so far:\n{summary}\n\nGo on from there. As soon as you know "
    "the answer, end with one line `A: <answer>`."
)
SUMMARY = (
    "Question:\n{problem}\n\nProgress before:\n{summary}\n\nWhat was done "
    "since:\n{segment}\n\nSummarize all progress briefly: every result that is still needed."
)
STICKER = (
    "Question:\n{problem}\n\nList the facts and conditions of the question, and what is asked. Do "
    "not solve it."
)
WITH_STICKER = "Question:\n{problem}\n\nIts key facts:\n{sticker}\n\nAnswer the question. " + END
FORWARD = (
    "Question:\n{problem}\n\nIts key facts:\n{sticker}\n\nCorrect the list: add what is missing, "
    "repair what does not say what the question says. Do not solve it."
)
INVERSE = (
    "Here is an answer to a question that is not shown:\n{answer}\n\nList the facts and conditions "
    "that the question must have stated for this answer, and what it must have asked."
)
HINT = "{problem}\n\n(Hint: the answer may be {hint}.)"
SYNTHESIZE = (
    "Question:\n{problem}\n\nCandidate answers:\n{candidates}\n\nAny of them may be wrong, perhaps "
    "all. Compare them step by step, take what is right, and answer the question. " + END
)
FACT = (
    "Premises:\n{premises}\n\nGoal: {goal}\n\nDoes one premise alone state the goal, or state its "
    "opposite? End with one line: `Proved`, `Disproved` or `Unknown`."
)
RULES = (
    "Premises:\n{premises}\n\nGoal: {goal}\n\nWhich premises are rules whose conclusion is the goal "
    "or its opposite? End with one line: their numbers, or `none`."
)
DECOMPOSE = (
    "Rule: {rule}\n\nGoal: {goal}\n\nWhich conditions must hold for the rule to apply to the goal? "
    "Write one a line, as a statement, nothing else."
)
SIGN = (
    "Rule: {rule}\n\nGoal: {goal}\n\nDoes the conclusion of the rule agree with the goal, or "
    "contradict it? End with one line: `Agrees` or `Contradicts`."
)
CONSTRAINTS = (
    "Problem:\n{problem}\n\nList the constraints that a right solution must satisfy. Do not solve it."
)
CHECK = (
    "Problem:\n{problem}\n\nConstraints:\n{constraints}\n\nProposed solution:\n{answer}\n\nHow well "
    "does it satisfy the constraints, from 0 to 100? End with one line: `Score: <number>`."
)
SELECT = (
    "Problem:\n{problem}\n\nConstraints:\n{constraints}\n\nMethods:\n{methods}\n\nWhich method suits "
    "this problem? End with one line: its number."
)
BATCH = (
    "{shared}Answer each question. Write one line for each: `A[i]: <answer>`, i being its "
    "number.\n\n{questions}"
)


def fill(template: str, **values: str) -> str:
    """The template with its {places} filled in one go: braces in the values stay what they are."""
    names = "|".join(map(re.escape, values))
    return re.sub(r"\{(" + names + r")\}", lambda m: values[m[1]], template)


def check_template(name: str, template: str, *places: str) -> None:
    """Raise ValueError for a template that lacks a place."""
    lacking = [f"{{{place}}}" for place in places if f"{{{place}}}" not in template]
    if lacking:
        raise ValueError(f"{name}={template[:40]!r}: put {' and '.join(lacking)} where they belong")


def at_least_one(**counts: int) -> None:
    """Raise ValueError for a count below 1."""
    if min(counts.values()) < 1:
        raise ValueError(f"{', '.join(f'{name}={n}' for name, n in counts.items())}: give at least 1")


async def consult(root: Branch, question: str, sampling: Sampling | None = None) -> Answer | None:
    """The reply to a question in a context of its own, its branch open; None, said on the receipt, where the
    question does not fit the model's context."""
    try:
        branch = await root.ask(question)
    except PromptTooLong as error:
        root.degrade("context", f"a question of the strategy was left out: {error}")
        return None
    return await write(branch, sampling or root.sampling)


def bare(answer: Answer) -> Answer:
    """The answer, its branch closed: nothing of it is held in the cache any more."""
    if answer.branch is not None:
        answer.branch.close()
    return replace(answer, branch=None)


async def note(root: Branch, question: str, most: int | None = None) -> str | None:
    """The text of a reply of at most so many tokens that nobody needs the branch of; None as in `consult`."""
    sampling = root.sampling
    if most is not None:
        sampling = replace(sampling, max_tokens=min(most, sampling.max_tokens or most))
    answer = await consult(root, question, sampling)
    return None if answer is None else bare(answer).text.strip()


def last_with_final(root: Branch, who: str, later: Answer, earlier: Answer | None) -> Answer:
    """`later`, or `earlier` where `later` lost the final answer, which is said: no round makes it worse."""
    if later.final is not None or earlier is None or earlier.final is None:
        return later
    root.degrade(who, "a round ended without a final answer: what stood before it still stands")
    return earlier


def numbers_in(text: str) -> list[int]:
    """The whole numbers in a reply. One of more digits than any list has entries is left out: a model that
    writes a digit without end has named nothing."""
    return [int(digits) for digits in re.findall(r"\d+", text) if len(digits) < 10]


def numbered(texts: Sequence[str]) -> str:
    """The texts as a numbered list, a blank line between."""
    return "\n\n".join(f"[{i}]\n{text.strip()}" for i, text in enumerate(texts, 1))


def last_line(text: str) -> str:
    """The last line with content, without the marks that surround a word."""
    return next((line.strip(" \t*_`.") for line in reversed(text.splitlines()) if line.strip()), "")
