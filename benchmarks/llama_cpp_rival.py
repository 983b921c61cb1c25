"""llama.cpp by its own low-level interface: one `llama_decode` a step over all branches, prompt shared.

Needs `pip install -e '.[bench]'`; without it `missing()` says why there is no such column.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contest import Work

llama_cpp: Any = None  # it says nothing of its types
try:
    llama_cpp = import_module("llama_cpp")
except ImportError as error:
    WHY = str(error)

BATCH = 2048  # rows that may be submitted at once, llama.cpp's default


def missing() -> str:
    """Why llama.cpp is not part of the benchmark; empty if it is."""
    return "" if llama_cpp is not None else f"llama-cpp-python cannot be imported ({WHY})"


def system_info() -> str:
    """What llama.cpp was built for."""
    return llama_cpp.llama_print_system_info().decode().strip(" |")


@dataclass(frozen=True)
class Setting:
    """What one may choose in llama.cpp for the same work; the benchmark takes the fastest."""

    file: Path
    is_unified: bool = True  # one buffer for all branches, the prompt in it once; else a copy for each
    flash: bool = False
    is_half: bool = True  # type of keys and values: float16 (llama.cpp's default), else float32

    def __str__(self) -> str:
        memory = "shared prompt" if self.is_unified else "a copy of the prompt per branch"
        attention = "flash attention" if self.flash else "plain attention"
        cache = "float16 cache" if self.is_half else "float32 cache"
        return f"{self.file.stem} weights, {cache}, {memory}, {attention}"


def settings(files: Sequence[Path], branches: int) -> list[Setting]:
    """All that are worth trying."""
    halves = (True, False) if any(f.stem == "float32" for f in files) else (True,)
    unified = (True, False) if branches > 1 else (True,)
    return [Setting(*choice) for choice in product(files, unified, (False, True), halves)]


class LlamaCpp:
    """Branches written by llama.cpp, each with a sampler chain of its own."""

    name = "llama.cpp"

    def __init__(self, setting: Setting, threads: int) -> None:
        self.setting, self.threads = setting, threads
        self.model = _load(setting.file)
        self.vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.batch = Rows(BATCH)
        self.eos = -1
        self.context: Any = None
        self.shape = (0, 0)
        self.decode_seconds = self.seconds = 0.0  # of `write`

    def close(self) -> None:
        """Free the context and the model."""
        self._drop()
        llama_cpp.llama_model_free(self.model)

    def _drop(self) -> None:
        if self.context is not None:
            llama_cpp.llama_free(self.context)
            self.context = None

    def _open(self, branches: int, length: int) -> None:
        """An empty context for so many branches of that length, prompt included."""
        if self.context is None or self.shape[0] != branches or self.shape[1] < length:
            self._drop()
            self.shape = (branches, -(-length // 256) * 256)
            self.context = llama_cpp.llama_init_from_model(self.model, self._params(*self.shape))
            if not self.context:
                raise RuntimeError(f"llama.cpp gives no context for {branches} branches of {length} tokens")
            self.memory = llama_cpp.llama_get_memory(self.context)
        llama_cpp.llama_memory_clear(self.memory, False)

    def _params(self, branches: int, length: int) -> Any:
        setting = self.setting
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = branches * length
        params.n_batch, params.n_seq_max = BATCH, branches
        params.n_threads = params.n_threads_batch = self.threads
        params.kv_unified = setting.is_unified
        params.flash_attn_type = int(setting.flash)
        params.type_k = params.type_v = 1 if setting.is_half else 0
        params.no_perf = True
        return params

    def _decode(self) -> None:
        began = time.perf_counter()
        code = llama_cpp.llama_decode(self.context, self.batch.batch)
        llama_cpp.llama_synchronize(self.context)
        self.decode_seconds += time.perf_counter() - began
        if code:
            raise RuntimeError(f"llama_decode returned {code}")

    def logits(self, tokens: list[int]) -> np.ndarray:
        """[tokens, vocab] in float32, to be checked against."""
        self._open(1, len(tokens))
        self.batch.fill(tokens, range(len(tokens)), [0] * len(tokens), wanted=1)
        self._decode()
        rows = [llama_cpp.llama_get_logits_ith(self.context, i) for i in range(len(tokens))]
        return np.stack([np.ctypeslib.as_array(row, (self.vocab,)).copy() for row in rows])

    def write(self, work: Work) -> int:
        began = time.perf_counter()
        prompt, n = work.prompt.tokens, work.branches
        self._open(n, len(prompt) + work.new)
        chains = [_chain(work, branch) for branch in range(n)]
        self.batch.fill(prompt, range(len(prompt)), [0] * len(prompt), wanted=0)
        self._decode()
        for branch in range(1, n):
            llama_cpp.llama_memory_seq_cp(self.memory, 0, branch, -1, -1)
        live = list(range(n))
        tokens = self._sample(chains, live, [-1] * n)
        written = n
        for step in range(work.new - 1):
            if work.stops:
                kept = [(b, t) for b, t in zip(live, tokens, strict=True) if t != self.eos]
                self._forget(set(live) - {b for b, _ in kept})
                live, tokens = [b for b, _ in kept], [t for _, t in kept]
                if not live:
                    break
            self.batch.fill(tokens, [len(prompt) + step] * len(live), live, wanted=1)
            self._decode()
            tokens = self._sample(chains, live, range(len(live)))
            written += len(live)
        for chain in chains:
            llama_cpp.llama_sampler_free(chain)
        self.seconds += time.perf_counter() - began
        if not work.stops and written != n * work.new:
            raise AssertionError(f"llama.cpp wrote {written} tokens, not {n} x {work.new}")
        return written

    def _sample(self, chains: list[Any], live: list[int], rows: Iterable[int]) -> list[int]:
        sample, context = llama_cpp.llama_sampler_sample, self.context
        return [sample(chains[branch], context, row) for branch, row in zip(live, rows, strict=True)]

    def _forget(self, ended: set[int]) -> None:
        for branch in ended:
            llama_cpp.llama_memory_seq_rm(self.memory, branch, -1, -1)


class Rows:
    """A llama_batch whose arrays are written through numpy."""

    def __init__(self, size: int) -> None:
        self.batch = llama_cpp.llama_batch_init(size, 0, 1)
        view = np.ctypeslib.as_array
        self.token, self.pos = view(self.batch.token, (size,)), view(self.batch.pos, (size,))
        self.count, self.logits = view(self.batch.n_seq_id, (size,)), view(self.batch.logits, (size,))
        self.count[:] = 1
        pointers = ctypes.cast(self.batch.seq_id, ctypes.POINTER(ctypes.c_void_p))
        self.sequence = np.zeros(size, dtype=np.int32)  # every row's list of sequences is one entry of this
        for row in range(size):
            pointers[row] = self.sequence.ctypes.data + 4 * row

    def fill(self, tokens: list[int], positions: Iterable[int], sequences: list[int], wanted: int) -> None:
        """Rows for the next pass; logits of all if `wanted`, else of the last only."""
        n = self.batch.n_tokens = len(tokens)
        if n > len(self.token):
            raise ValueError(f"{n} rows, {len(self.token)} fit")
        self.token[:n], self.pos[:n], self.sequence[:n] = tokens, list(positions), sequences
        self.logits[:n] = wanted
        self.logits[n - 1] = 1


def _load(file: Path) -> Any:
    llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = 0
    model = llama_cpp.llama_model_load_from_file(str(file).encode(), params)
    if not model:
        raise RuntimeError(f"llama.cpp cannot load {file}")
    return model


def _chain(work: Work, branch: int) -> Any:
    """Greedy, or temperature 0.8 and a draw."""
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    if work.greedy:
        llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_greedy())
    else:
        llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_temp(0.8))
        llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_dist(work.seed * 1000 + branch))
    return chain


if llama_cpp is not None:

    @llama_cpp.llama_log_callback
    def _silent(level: int, text: bytes, data: Any) -> None:
        """llama.cpp prints pages while it loads."""
