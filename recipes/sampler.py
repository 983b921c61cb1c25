"""Batched sampling with a key-value cache, for the recipe's own measurements."""

from __future__ import annotations

import torch
from data import BOS, EOS, PAD, question
from llama import Llama
from tokenizers import Tokenizer
from torch import Tensor

Cache = list[tuple[Tensor, Tensor]]


def attend_cached(
    layer: torch.nn.Module, x: Tensor, cache: tuple[Tensor, Tensor], at: int, places: Tensor
) -> Tensor:
    """One layer over new positions at .. at+time; `places` (rows, all) is False where a row has padding."""
    attention, time = layer.self_attn, x.shape[1]
    cos, sin = attention.tables
    q, k, v = attention.project(layer.input_layernorm(x), cos, sin)
    cache[0][:, :, at : at + time], cache[1][:, :, at : at + time] = k, v
    seen = at + time
    ahead = torch.arange(seen) <= torch.arange(at, seen)[:, None]
    mask = (places[:, None, None, :seen] & ahead) | torch.eye(seen, dtype=torch.bool)[at:seen]
    out = torch.nn.functional.scaled_dot_product_attention(
        q, cache[0][:, :, :seen], cache[1][:, :, :seen], attn_mask=mask, enable_gqa=True
    )
    x = x + attention.o_proj(out.transpose(1, 2).flatten(2))
    return x + layer.mlp(layer.post_attention_layernorm(x))


class Sampler:
    """Left-padded prompts in, texts out."""

    def __init__(self, model: Llama, tokenizer: Tokenizer, seed: int = 0) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer
        self.generator = torch.Generator().manual_seed(seed)

    def cache(self, rows: int, length: int) -> Cache:
        """Empty keys and values."""
        shape = self.model.shape
        size = (rows, shape.kv_heads, length, shape.head_dim)
        return [(torch.zeros(size), torch.zeros(size)) for _ in range(shape.layers)]

    def forward(self, tokens: Tensor, cache: Cache, at: int, places: Tensor) -> Tensor:
        """Logits of the last position."""
        positions = (places.cumsum(1) - 1).clamp(min=0)[:, at : at + tokens.shape[1]]
        cos, sin = self.model.cos[positions][:, None], self.model.sin[positions][:, None]
        x = self.model.model.embed_tokens(tokens)
        for layer, kept in zip(self.model.model.layers, cache, strict=True):
            layer.self_attn.tables = (cos, sin)
            x = attend_cached(layer, x, kept, at, places)
        return self.model.logits(self.model.model.norm(x[:, -1]))

    def choose(self, logits: Tensor, temperature: float) -> Tensor:
        """Greedy at temperature 0, else a draw from the softmax."""
        if temperature == 0:
            return logits.argmax(-1)
        return torch.multinomial((logits / temperature).softmax(-1), 1, generator=self.generator)[:, 0]

    @torch.inference_mode()
    def texts(self, prompts: list[str], temperature: float, limit: int = 400) -> list[str]:
        """One continuation per prompt, up to <eos> or `limit` tokens; finished rows leave the batch early."""
        heads = [[BOS, *self.tokenizer.encode(question(p), add_special_tokens=False).ids] for p in prompts]
        width = max(map(len, heads))
        tokens = torch.tensor([[PAD] * (width - len(h)) + h for h in heads])
        real = torch.tensor([[False] * (width - len(h)) + [True] * len(h) for h in heads])
        places = torch.cat((real, torch.ones(len(heads), limit, dtype=torch.bool)), 1)
        cache, out = self.cache(len(heads), width + limit), [[] for _ in heads]
        rows, alive, at = torch.arange(len(heads)), torch.ones(len(heads), dtype=torch.bool), 0
        for _ in range(limit):
            chosen = self.choose(self.forward(tokens, cache, at, places), temperature)
            at += tokens.shape[1]
            alive &= chosen != EOS
            for row, token in zip(rows[alive].tolist(), chosen[alive].tolist(), strict=True):
                out[row].append(token)
            if not alive.any():
                break
            if alive.sum() < 0.7 * len(rows):
                rows, chosen, places = rows[alive], chosen[alive], places[alive]
                cache = [(k[alive].clone(), v[alive].clone()) for k, v in cache]
                alive = alive[alive]
            tokens = chosen[:, None]
        return [self.tokenizer.decode(ids) for ids in out]
