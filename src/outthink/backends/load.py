"""From a name to a backend: an embedded model, a Hugging Face directory, or "toy"."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from outthink.backends.local import LocalBackend
from outthink.backends.threads import Watch, choose, hand_over, products
from outthink.core.about import About, Prices
from outthink.core.errors import BadInput, UnknownName
from outthink.models.base import Loaded, ModelConfig

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"


def embedded() -> dict[str, Path]:
    """The models that come with the package, by name."""
    if not WEIGHTS.is_dir():
        return {}
    return {p.name: p for p in sorted(WEIGHTS.iterdir()) if (p / "config.json").is_file()}


def locate(name: str) -> Path:
    """The directory of a model. UnknownName for what is neither embedded nor a directory."""
    if name in embedded():
        return embedded()[name]
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if "/" in name or "\\" in name:
        raise BadInput(f"{name} is not a directory; give a Hugging Face-format model directory, or one of: "
                       f"{', '.join([*embedded(), 'toy'])}")  # fmt: skip
    raise UnknownName("model", name, [*embedded(), "toy"])


def prices(config: ModelConfig) -> Prices:
    """Analytic costs: 2 FLOPs a weight and row; attention 4 x layers x heads x head_dim a visible slot."""
    table = config.vocab * config.hidden
    body = config.params - table * (1 if config.tied else 2)
    return Prices(
        flops_row=2.0 * body,
        flops_head=2.0 * table,
        flops_context=4.0 * config.layers * config.heads * config.head_dim,
        weight_bytes=float(config.bytes),  # of torch; native kernels pack them, and say so
        slot_bytes=float(config.cache_bytes_per_slot),
    )


def kernels() -> str:
    """What passes in float32 on this machine's CPU are computed by: "torch", or "native" and a level."""
    import torch

    from outthink.models.levels import choose_kernels

    level = choose_kernels(None, "float32", torch.device("cpu"))
    return "torch" if level is None else f"native {level}"


def load_tokenizer(name: str) -> tuple[Any, int]:
    """The tokenizer of a model and the size of its vocabulary, without weights. Raises as load_backend."""
    if name == "toy":
        from outthink.backends.toy import toy

        return toy().tokenizer, toy().about.vocab
    from outthink.models.config import read_config
    from outthink.models.tokenizer import Tokenizer

    path = locate(name)
    config = read_config(path)
    vocab = config.get("vocab_size") or config.get("text_config", {}).get("vocab_size")
    if not isinstance(vocab, int):
        raise BadInput(f"{path}/config.json does not say how large the vocabulary is (vocab_size)")
    return Tokenizer.from_directory(path), vocab


def load_backend(
    name: str,
    dtype: str = "float32",
    device: str = "cpu",
    threads: int | None = None,
    trust_remote_code: bool = False,
    kernels: str | None = None,
    deterministic: bool = False,
) -> LocalBackend:
    """Load a model; `kernels` is as in `models.native.choose_kernels`, `deterministic` as in
    `models.invariant`: torch then has one thread unless `threads` says how many.

    Raises BadInput or ModelError with one line that says what to do."""
    if name == "toy":
        from outthink.backends.toy import toy

        made = toy()
        made.is_deterministic = deterministic  # a function of the prefix, row by row
        return made
    from outthink.backends.native_draw import NativeDraw
    from outthink.models.loader import load
    from outthink.models.native import NativeModel

    path = locate(name)
    is_ours = threads is None and device == "cpu"
    if is_ours:
        choose(products())  # before loading: weights are laid out for the number of threads
    loaded = load(path, dtype, device, threads, trust_remote_code, kernels)
    if deterministic:
        loaded, is_ours = _deterministic(loaded, is_ours), False
    config = loaded.config
    eos = frozenset(config.eos) | frozenset(loaded.tokenizer.eos)
    about = About(
        path.name if name in embedded() else str(path),
        config.vocab,
        config.max_positions,
        eos,
        prices(config)._replace(weight_bytes=getattr(loaded.model, "weight_bytes", float(config.bytes))),
        config.layers,
        str(path),
    )
    backend = LocalBackend(loaded.model, loaded.tokenizer, about)
    backend.dtype = config.dtype
    backend.kind = f"{config.dtype} {config.device}, {config.kernels}"
    if isinstance(loaded.model, NativeModel):
        backend.draw = NativeDraw(loaded.model.level, loaded.model)
        backend.moves_are_dear = True  # its attention takes extents as they are
        hand_over(loaded.model)
    backend.watch = Watch(backend) if is_ours else None
    backend.is_deterministic = deterministic
    return backend


def _deterministic(loaded: Loaded, is_ours: bool) -> Loaded:
    """The same model with passes in which no row depends on its company; threads that nobody asked for are
    one in torch, where their number changes bits."""
    import torch

    from outthink.models.invariant import invariant
    from outthink.models.native import NativeModel

    if is_ours and not isinstance(loaded.model, NativeModel):
        torch.set_num_threads(1)
    model = invariant(loaded.model)
    return Loaded(model, loaded.tokenizer, model.config)
