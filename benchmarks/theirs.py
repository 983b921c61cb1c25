"""transformers: `generate`, with as many return sequences as there are branches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.contest import Work


class Transformers:
    """`AutoModelForCausalLM.generate` with its defaults for cache and attention."""

    name = "transformers"

    def __init__(
        self, network: Any, name: str = "transformers", assistant: Any = None, **options: Any
    ) -> None:
        self.network, self.name, self.assistant = network.eval(), name, assistant
        self.options = options  # more for the generation config
        self.eos = network.config.eos_token_id
        network.generation_config = transformers.GenerationConfig()

    @classmethod
    def load(cls, directory: Path, dtype: str) -> Transformers:
        """From a directory."""
        transformers.utils.logging.disable_progress_bar()
        return cls(transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=dtype))

    @torch.inference_mode()
    def logits(self, tokens: list[int]) -> torch.Tensor:
        """[tokens, vocab] in float32, to be checked against."""
        return self.network(torch.tensor([tokens], device=self.network.device)).logits[0].float()

    def write(self, work: Work) -> int:
        torch.manual_seed(work.seed)
        tokens = torch.tensor([work.prompt.tokens], device=self.network.device)
        chance = {} if work.greedy else {"temperature": 0.8, "top_k": 0, "top_p": 1.0}
        config = transformers.GenerationConfig(
            max_new_tokens=work.new,
            do_sample=not work.greedy,
            num_return_sequences=work.branches,
            eos_token_id=self.eos if work.stops else None,
            pad_token_id=0,
            **chance,
            **self.options,
        )
        drafting = {} if self.assistant is None else {"assistant_model": self.assistant}
        with torch.inference_mode():
            out = self.network.generate(
                tokens, attention_mask=torch.ones_like(tokens), generation_config=config, **drafting
            ).cpu()  # who asked for a text has it then; and clocks stop when a device has done it
        new = out[:, tokens.shape[1] :]
        if work.stops:
            return _until_end(new, self.eos)
        if new.shape != (work.branches, work.new):
            raise AssertionError(f"transformers wrote {list(new.shape)}, not {work.branches} x {work.new}")
        return new.numel()


def _until_end(new: torch.Tensor, eos: int) -> int:
    """Tokens up to each row's end of text, that token included; padding does not count."""
    ended = (new == eos).int().cumsum(1)
    return int(((ended == 0) | ((ended == 1) & (new == eos))).sum())
