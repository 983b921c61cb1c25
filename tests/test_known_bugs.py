"""Bugs that programs of this kind have had, and the test that would find each of them here.

The table names the bug and the tests; those that have no other place are below it.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from outthink.backends.toy import hashed, toy
from outthink.core.branch import Branch
from outthink.core.samples import Sampled
from outthink.core.types import Answer, Sampling, Want
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.strategy import Once, SemanticEntropy, Vote
from outthink.strategy._select import poll
from outthink.strategy.semantic_entropy import entropy
from outthink.testing.scripted import Transcript, scripted

HERE = Path(__file__).parent
BUGS: list[tuple[str, list[str]]] = [
    (
        "a retained particle weighed by its end, the others by their beginnings",
        [
            "exact/test_particles.py::test_equal_rewards_give_equal_probabilities_whoever_stops_early",
            "exact/test_particles.py::test_one_step_of_the_chain_leaves_the_posterior_as_it_is",
        ],
    ),
    (
        "the whole reward multiplied in again at every step",
        ["exact/test_particles.py::test_multiplying_the_whole_reward_at_every_step_is_caught"],
    ),
    (
        "weights kept after resampling, particles that have ended dropped",
        [
            "exact/test_particles.py::test_a_wrong_resampling_is_caught",
            "exact/test_particles.py::test_dropping_those_that_have_ended_is_caught",
        ],
    ),
    (
        "a resampling scheme that is another one than was asked for",
        [
            "exact/test_resampling.py::test_the_schemes_differ_as_their_names_say",
            "exact/test_resampling.py::test_systematic_counts_are_floor_or_ceiling",
        ],
    ),
    (
        "the answer taken from a population after it was resampled",
        ["strategy/test_smc.py::test_the_answer_is_of_the_population_before_any_resampling"],
    ),
    (
        "cut texts scored as whole ones, a mask without a way out, a population that dies",
        [
            "exact/test_particles.py::"
            "test_texts_without_weight_are_left_out_and_a_dead_population_counts_as_zero",
            "strategy/test_smc.py::test_without_survivors_the_answer_is_empty_and_says_so",
            "strategy/test_step_search.py::"
            "test_a_cap_on_tokens_ends_solutions_and_what_is_complete_comes_first",
        ],
    ),
    (
        "a cap on tries that changes what is estimated",
        [
            "exact/test_particles.py::test_bidirectional_answers_with_an_exact_sample",
            "strategy/test_smc.py::test_without_an_exact_sample_there_is_no_upper_bound",
        ],
    ),
    (
        "log-weights put through exp as they are",
        ["exact/test_resampling.py::test_weights_beyond_the_range_of_exp_are_no_trouble"],
    ),
    (
        "a cache found by the wrong past, shared and written on",
        ["props/test_programs.py::test_random_programs"],
    ),
    (
        "samples that are one sample out of a cache",
        [
            "strategy/test_equal_samples.py::test_a_seed_and_a_sample_have_draws_of_their_own",
            "strategy/test_equal_samples.py::test_equal_samples_are_said_once",
        ],
    ),
    (
        "a batch that waits as long as requests come",
        ["test_known_bugs.py::test_a_request_waits_for_no_other"],
    ),
    (
        "truncation from the wrong end, or of nothing",
        [
            "core/test_rng.py::test_truncations_keep_exactly_what_they_should",
            "exact/test_warps.py::test_distribution_under_warps",
        ],
    ),
    (
        "an entropy of the likeliest few, and none of two samples",
        [
            "test_known_bugs.py::test_statistics_are_of_the_whole_vocabulary",
            "test_known_bugs.py::test_two_samples_have_an_entropy",
        ],
    ),
    (
        "seeds from the clock, one seed for all branches",
        [
            "engine/test_batching.py::test_seeds_differ",
            "strategy/test_smc.py::test_resampled_particles_go_their_own_ways",
            "cli/test_commands.py::test_the_same_seed_gives_the_same_answer",
        ],
    ),
    (
        "steps that end where tokens happen to end",
        [
            "text/test_steps.py::test_no_chunking_changes_the_steps",
            "engine/test_stops.py::test_any_chunking_stops_at_the_same_place",
            "strategy/test_step_search.py::test_the_delimiter_may_be_any_text",
        ],
    ),
    (
        "the prompt cut off the answer by its characters, shortened without a word, cut steps left out",
        [
            "test_known_bugs.py::test_the_prompt_is_no_part_of_the_answer_and_all_of_it_is_read",
            "engine/test_hygiene.py::test_a_prompt_longer_than_the_context_is_refused",
            "strategy/test_step_search.py::test_a_step_that_does_not_end_is_cut_and_the_receipt_says_so",
        ],
    ),
    (
        "special tokens, labels and templates of one model taken for those of all",
        [
            "models/test_tokenizer.py::test_special_tokens",
            "models/test_tokenizer.py::test_chat_follows_the_template",
            "verify/test_reward_model.py::test_a_label_that_is_not_there_is_refused",
        ],
    ),
    (
        "answers found by patterns that cannot count braces",
        ["text/test_real_answers.py::test_every_math500_reference_is_found_in_its_box_and_equals_itself"],
    ),
    (
        "answers that look alike counted as one",
        ["test_known_bugs.py::test_alike_is_not_equal"],
    ),
    (
        "no answer elected, ties by the order of a dictionary",
        [
            "exact/test_live_and_replay.py::test_no_answer_never_wins_and_never_counts_as_one",
            "exact/test_live_and_replay.py::test_ties_go_to_the_class_that_came_first_and_are_known",
            "bench/test_replay_estimates.py::test_ties_share_the_credit",
        ],
    ),
    (
        "the way to join step scores ignored, a missing score taken for 0",
        [
            "verify/test_prm.py::test_steps_are_joined_as_asked",
            "strategy/test_smc.py::test_a_bad_score_ends_the_run_with_a_message",
            "strategy/test_every_verdict.py::"
            "test_what_is_wrong_at_any_call_ends_the_run_with_the_verifiers_name",
        ],
    ),
    (
        "the order of arrival taken for the order of the samples",
        [
            "exact/test_live_and_replay.py::test_a_permutation_of_the_samples_chooses_the_same_answers",
            "strategy/test_search_rules.py::test_batches_and_company_change_nothing",
            "strategy/test_every_verdict.py::"
            "test_all_samples_are_judged_in_one_call_and_a_budget_changes_nothing_else",
        ],
    ),
    (
        "two questions of one text taken for one",
        ["bench/test_replay_estimates.py::test_problems_with_one_text_are_two"],
    ),
    (
        "a solution that votes as often as it is visited, a search that ends with nothing",
        [
            "strategy/test_tree_search.py::test_an_ended_solution_is_not_visited_again_and_votes_once",
            "strategy/test_tree_search.py::test_visits_add_up_and_values_are_means_of_what_was_judged",
            "strategy/test_search_rules.py::"
            "test_every_budget_of_at_least_a_token_gives_an_answer_and_is_kept",
            "strategy/test_step_search.py::test_nothing_complete_is_still_an_answer",
        ],
    ),
    (
        "usage that is zero, partial or guessed",
        [
            "e2e/test_pocket.py::test_the_receipt_counts_what_the_model_did",
            "remote/test_remote_client.py::test_missing_usage_is_estimated_and_said",
        ],
    ),
    (
        "something else done than asked for, without a word",
        [
            "exact/test_live_and_replay.py::test_deep_conf_says_what_it_lacks",
            "remote/test_remote_faults.py::test_log_probabilities_that_a_strategy_needs_are_not_made_up",
            "verify/test_prompted.py::"
            "test_a_verdict_that_cannot_be_read_is_asked_for_again_and_then_is_no_word",
            "strategy/test_every_verdict.py::test_a_task_whose_steps_cannot_be_split_is_named_on_the_receipt",
        ],
    ),
    (
        "fewer samples told, more seconds not",
        ["cli/test_commands.py::test_a_table_says_tokens_and_seconds_together_or_neither"],
    ),
    (
        "the mode of scores for the majority of answers, the first k for any k",
        [
            "test_stats.py::test_maj_at_k_is_what_enumeration_gives",
            "test_stats.py::test_maj_at_k_does_not_look_at_the_order",
            "bench/test_replay_estimates.py::test_the_order_of_the_lines_is_worth_nothing",
        ],
    ),
    ("an option that nobody ever set", ["contracts/test_contracts.py::test_every_option_is_tried"]),
    ("documents with arguments that do not exist", ["test_docs.py::test_python_snippets_run"]),
]


@cache
def names_in(file: str) -> set[str]:
    tree = ast.parse((HERE / file).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("bug", "tests"), BUGS, ids=[bug for bug, _ in BUGS])
def test_every_known_bug_has_its_tests(bug: str, tests: Sequence[str]) -> None:
    for test in tests:
        file, name = test.split("::")
        assert name in names_in(file), f"{bug}: {test} is gone"


# -------------------------------------------------------------------------------------------------- waiting


def test_a_request_waits_for_no_other() -> None:
    """With one more request at every turn, the first is done after as many turns as it takes passes."""
    sampling = Sampling(temperature=1.0, max_tokens=12, ignore_eos=True)
    engine = Engine(toy(hashed(4, scale=3.0, seed=2), 4, context=48), slots=4000)
    first, turns = engine.start(Request(Once(), "ab", sampling=sampling)), 0
    while not first.is_done:
        engine.turn()
        turns += 1
        engine.start(Request(Once(), "ba", sampling=sampling, seed=turns))
    assert first.answer is not None and first.answer.receipt is not None
    assert turns <= first.answer.receipt.actual.passes + 1 <= 14
    for run in list(engine.runs.values()):
        engine.abort(run)


# ----------------------------------------------------------------------------------------------- statistics


class Look:
    """Keeps the statistics of the next token."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    async def __call__(self, root: Branch, /) -> Answer:
        self.found.update((await root.look(Want(stats=("entropy", "certainty"), top=1))).stats)
        return Answer("")


@pytest.mark.parametrize("vocab", [2, 30])
def test_statistics_are_of_the_whole_vocabulary(vocab: int) -> None:
    """By their definitions over all tokens, not of the likeliest few."""
    logits, look = hashed(vocab, scale=2.0, seed=4), Look()
    Engine(toy(logits, vocab)).run(Request(look, "aa"))
    weights = [math.exp(x) for x in logits((1, 1))]
    p = [w / sum(weights) for w in weights]
    assert look.found["entropy"] == pytest.approx(-sum(q * math.log(q) for q in p), abs=1e-9)
    uniform = -math.log(vocab) - sum(math.log(q) for q in p) / vocab
    assert look.found["certainty"] == pytest.approx(uniform, abs=1e-9)


def test_two_samples_have_an_entropy() -> None:
    assert entropy([Sampled("1"), Sampled("2")]) == pytest.approx(math.log(2))
    assert entropy([Sampled("1"), Sampled("1.0")]) == 0.0
    rule = SemanticEntropy(n=2, rounds=2, prompt="")
    assert rule.select([Sampled("1"), Sampled("1"), Sampled("2"), Sampled("2")]).used == 2
    assert rule.select([Sampled("1"), Sampled("2"), Sampled("2"), Sampled("2")]).used == 4


# ----------------------------------------------------------------------------------------------- the prompt

PROMPT = " What is\n1 + 1?  "
REPLIES = [PROMPT, PROMPT + PROMPT, " ", "", "\n\nA: 2", "é\u0301, 2 €", PROMPT[:5]]


@pytest.mark.parametrize("prompt", [PROMPT, "?", "é €\n", "a \n"])
@pytest.mark.parametrize("reply", REPLIES)
def test_the_prompt_is_no_part_of_the_answer_and_all_of_it_is_read(prompt: str, reply: str) -> None:
    """Whatever is in both, and whatever stands at their edges."""
    engine = Engine(scripted(lambda question: {reply: 1.0} if question == prompt else {"not asked": 1.0}))
    engine.trace = told = Transcript()
    answer = engine.run(Request(Vote(n=2), prompt, sampling=Sampling(temperature=1.0)))
    assert answer.text == reply
    assert {exchange.question for exchange in told.exchanges} == {prompt}
    assert answer.receipt is not None
    assert answer.receipt.logical.read == len(
        engine.main.tokenizer.chat([{"role": "user", "content": prompt}])
    )


# -------------------------------------------------------------------------------------------------- answers


def test_alike_is_not_equal() -> None:
    """Long texts that differ in one digit are two answers, short ones that share no character may be one."""
    long = "the number of the house at the end of the long street is 1%d"
    for pair, is_one in (((long % 2, long % 3), False), (("0.5", r"\frac12"), True), (("12", "21"), False)):
        votes: Any = poll([Sampled(pair[0]), Sampled(pair[1])])
        assert (votes.score == 1.0) is is_one
