"""its_hub's own algorithms on an endpoint, told as JSON: `python hub.py URL QUESTION`, where its_hub is."""

from __future__ import annotations

import json
import random
import sys
from typing import Any

from its_hub import BestOfN, OpenAICompatibleLanguageModel, SelfConsistency, StepGeneration
from its_hub.api.reward_models import AbstractOutcomeRewardModel, AbstractProcessRewardModel
from its_hub.core.algorithms.beam_search import BeamSearch
from its_hub.core.algorithms.particle_gibbs import ParticleFiltering


def final(text: str) -> str:
    """What stands after the last `A:`."""
    return text.rpartition("A:")[2].strip()


def goodness(text: str) -> float:
    """Something to choose by that a test can compute again: how many characters are an even digit."""
    return sum(c in "02468" for c in text) / (1 + len(text))


class Orm(AbstractOutcomeRewardModel):  # `score` is abstract, and not called by the async way; so below
    async def ascore(self, conversations: Any, **kwargs: Any) -> list[float]:
        return [goodness(messages[-1].content) for messages in conversations]

    def score(self, conversations: Any, **kwargs: Any) -> list[float]:
        raise NotImplementedError


class Prm(AbstractProcessRewardModel):
    async def ascore(self, prompt: Any, steps: Any, **kwargs: Any) -> Any:
        return [goodness(one) for one in steps] if isinstance(steps, list) else goodness(steps)

    def score(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


def main() -> None:
    url, question = sys.argv[1:]
    random.seed(0)
    given = {"endpoint": url, "api_key": "none", "model_name": "pocket", "max_tries": 1}
    sampled = OpenAICompatibleLanguageModel(**given, temperature=0.8, max_completion_tokens=200)
    greedy = OpenAICompatibleLanguageModel(**given, temperature=0.0, max_completion_tokens=200)
    vote = SelfConsistency(final).infer(sampled, question, budget=8, return_response_only=False)
    same = SelfConsistency(final).infer(greedy, question, budget=3, return_response_only=False)
    best = BestOfN(Orm()).infer(sampled, question, budget=8, return_response_only=False)
    steps = StepGeneration(max_steps=8, step_token="\n", stop_token="A:", temperature=0.8)
    kept = StepGeneration(8, "\n", temperature=0.8, include_stop_str_in_output=True)
    beam = BeamSearch(steps, Prm(), beam_width=2).infer(sampled, question, budget=4)
    particles = ParticleFiltering(kept, Prm()).infer(sampled, question, budget=4)
    told = {
        "vote": {"texts": [r["content"] for r in vote.responses], "picked": vote.selected_index},
        "usage": [vote.usage.prompt_tokens, vote.usage.completion_tokens],
        "greedy": [r["content"] for r in same.responses],
        "best": {"texts": [r["content"] for r in best.responses], "picked": best.selected_index},
        "beam": beam["content"],
        "particles": particles["content"],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
