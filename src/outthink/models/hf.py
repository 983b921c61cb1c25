"""Any other causal architecture: transformers computes all but attention, which follows our plan and store.

An attention function registered with transformers receives queries, keys and values of all packed rows, layer
by layer; it writes keys and values into the store and attends by the plan of the pass. Nothing else is
changed, so an architecture works if all of its layers call the attention interface with plain softmax
attention. That is not assumed but checked at load: a branching pass must give the logits of the model's own
attention.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from outthink.core.batch import Batch, Segment
from outthink.core.jobs import Variant
from outthink.kv.store import Store
from outthink.models.attention import Attending, by_plan
from outthink.models.base import ModelConfig
from outthink.models.config import eos_ids
from outthink.models.errors import ModelError
from outthink.models.plan import Costs
from outthink.models.variants import transformers_variant
from outthink.models.weights import check_finite

NAME = "outthink"
UNKNOWN_TO_PLAN = ("softcap", "s_aux", "position_bias", "head_mask", "sinks")


@dataclass
class _Pass:
    """What the attention function needs in one pass; layers are counted as they call."""

    attention: Attending
    query: torch.Tensor  # where the attention looks for queries: [rows, group, kv_heads, head_dim]
    layers: Sequence[torch.Tensor]
    slots: torch.Tensor
    position: int  # the largest
    which: Sequence[int]  # the number of each block in the cache
    layer: int = 0


@dataclass
class _Probe:
    """Collects the shapes of keys and values in place of a pass."""

    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)


def attention_function(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Queries [1, heads, rows, d], keys and values [1, kv_heads, rows, d] -> [1, rows, heads, d]."""
    for name in UNKNOWN_TO_PLAN:
        if kwargs.get(name) is not None:
            raise ModelError(f"{type(module).__name__} uses {name} in attention, which is not supported")
    step = kwargs["outthink_pass"]
    if isinstance(step, _Probe):
        step.shapes.append((tuple(key.shape), tuple(value.shape)))
        return query.transpose(1, 2), None
    window = kwargs.get("sliding_window")
    if window is not None and step.position >= window:
        raise ModelError(
            f"position {step.position} is beyond the sliding window of {window}; shorten the prompt"
        )
    layer, step.layer = step.which[step.layer], step.layer + 1
    step.layers[layer].index_copy_(0, step.slots, torch.stack((key[0], value[0])).permute(2, 0, 1, 3))
    kv_heads, rows, dim = key.shape[1:]
    step.query.copy_(query[0].unflatten(0, (kv_heads, -1)).permute(2, 1, 0, 3))
    out = step.attention.run(layer, scaling)
    return out.view(rows, -1, kv_heads, dim).transpose(1, 2).reshape(1, rows, -1, dim), None


class TransformersModel:
    """A transformers model behind the interface of the lean ones."""

    weight_bytes: float  # what a pass reads of weights, of an 8-bit variant alone

    def __init__(self, network: Any, config: ModelConfig) -> None:
        self.network, self.config = network, config
        parameter = next(network.parameters())
        self.dtype, self.device = parameter.dtype, parameter.device
        self.wide = torch.float64 if self.dtype == torch.float64 else torch.float32
        self.attend = by_plan(Costs().scaled(config.heads * config.head_dim))
        self.keeps = "logits_to_keep" in inspect.signature(network.forward).parameters
        self.which: Sequence[int] = range(config.layers)  # the numbers of the blocks in the cache
        self.state_bytes = 0.0  # what is held beside the model that this is a variant of

    def variant(self, variant: Variant) -> TransformersModel:
        """Some layers of it, or an 8-bit copy, on the same cache. Raises ModelError where there is none."""
        return transformers_variant(self, variant)

    def new_store(self, slots: int) -> Store:
        """An empty cache of that many slots."""
        config = self.config
        return Store(config.layers, slots, config.kv_heads, config.head_dim, self.dtype, self.device)

    @torch.inference_mode()
    def forward(self, batch: Batch, store: Store) -> torch.Tensor:
        """Logits of the wanted rows, [len(wanted), vocab]; keys and values of all rows go into slots."""
        if not len(batch):
            return torch.empty(0, self.config.vocab, dtype=self.wide, device=self.device)
        wanted = torch.tensor(batch.wanted or [0], device=self.device)
        logits = self._run(
            self.network, batch, store, {"logits_to_keep": wanted} if self.keeps else {}
        ).logits[0]
        if not self.keeps:
            logits = logits.index_select(0, wanted)
        return logits[: len(batch.wanted)].to(self.wide)

    @torch.inference_mode()
    def states(self, batch: Batch, store: Store) -> torch.Tensor:
        """What the head is given of the wanted rows [len(wanted), hidden]: the body's last hidden state."""
        wanted = torch.tensor(batch.wanted, dtype=torch.long, device=self.device)
        out = self._run(self.network.base_model, batch, store, {})
        states: torch.Tensor = out.last_hidden_state[0].index_select(0, wanted).to(self.wide)
        return states

    def _run(self, network: Any, batch: Batch, store: Store, more: Any) -> Any:
        """Run the network, or its body alone, over a batch that is not empty."""
        position = max(batch.positions)
        if position >= self.config.max_positions:
            raise ModelError(
                f"position {position} is beyond the {self.config.max_positions} positions of this model; "
                "shorten the prompt or the answer"
            )
        config = self.config
        shape = (len(batch), config.heads // config.kv_heads, config.kv_heads, config.head_dim)
        query = torch.empty(shape, dtype=self.dtype, device=self.device)
        attention = self.attend(batch, store, query)
        tokens, positions, slots = torch.tensor(
            [batch.tokens, batch.positions, batch.slots], device=self.device
        )
        step = _Pass(attention, query, store.layers, slots, position, self.which)
        return _run(network, tokens, positions, step, more)


def _run(
    network: Any, tokens: torch.Tensor, positions: torch.Tensor, step: _Pass | _Probe, more: Any
) -> torch.Tensor:
    """What the network returns for packed rows [1, rows, ...]."""
    return network(
        input_ids=tokens.unsqueeze(0),
        position_ids=positions.unsqueeze(0),
        use_cache=False,
        outthink_pass=step,
        **more,
    )


def load_transformers(
    directory: Path,
    config: Mapping[str, Any],
    dtype: torch.dtype,
    device: torch.device,
    trust_remote_code: bool,
) -> TransformersModel:
    """Load any causal architecture that transformers knows, and check that our attention serves it."""
    network = _network(directory, dtype, device, trust_remote_code)
    described = _describe(directory, config, network, dtype, device)
    model = TransformersModel(network, described)
    _check_attention(model)
    return model


def _network(directory: Path, dtype: torch.dtype, device: torch.device, trust_remote_code: bool) -> Any:
    """The transformers model with our attention function; missing or misshapen tensors are errors."""
    import transformers  # slow to import, and only needed here
    from transformers.masking_utils import AttentionMaskInterface

    transformers.AttentionInterface.register(NAME, attention_function)
    AttentionMaskInterface.register(NAME, _no_mask)
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        network, info = transformers.AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=dtype,
            attn_implementation=NAME,
            trust_remote_code=trust_remote_code,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:  # every architecture fails in its own way
        line = " ".join(str(error).split())[:300]
        raise ModelError(f"transformers cannot load {directory} ({type(error).__name__}: {line})") from None
    finally:
        if bars:
            transformers.utils.logging.enable_progress_bar()
    wrong = [*info["missing_keys"], *(key[0] for key in info["mismatched_keys"])]
    if wrong:
        raise ModelError(
            f"{directory}: the weights have no fitting {sorted(wrong)[0]} ({len(wrong)} such tensors)"
        )
    for name, tensor in network.named_parameters():
        check_finite(tensor.detach(), f"{directory}: {name}")
    return network.eval().to(device)


def _no_mask(*args: Any, **kwargs: Any) -> None:
    """The plan knows who sees whom; no mask is built."""


def _describe(
    directory: Path, config: Mapping[str, Any], network: Any, dtype: torch.dtype, device: torch.device
) -> ModelConfig:
    """Public numbers; cache shapes are read off a probing pass."""
    own = network.config.get_text_config()
    probe = _Probe()
    tokens = torch.zeros(2, dtype=torch.long, device=device)
    try:
        with torch.inference_mode():
            _run(network, tokens, torch.arange(2, device=device), probe, {})
    except (TypeError, KeyError) as error:
        raise ModelError(
            f"{own.model_type!r} does not pass our attention through ({error}); it cannot be run"
        ) from None
    shapes = {shape for pair in probe.shapes for shape in pair}
    if len(shapes) != 1:
        raise ModelError(
            f"{own.model_type!r} has {len(shapes)} shapes of keys and values; only equal ones are supported"
        )
    [(_, kv_heads, _, head_dim)] = shapes
    table = network.get_input_embeddings().weight
    out = network.get_output_embeddings()
    return ModelConfig(
        family=own.model_type,
        vocab=own.vocab_size,
        layers=len(probe.shapes),
        hidden=own.hidden_size,
        heads=own.num_attention_heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate=getattr(own, "intermediate_size", None)
        or getattr(own, "n_inner", None)
        or 4 * own.hidden_size,
        max_positions=getattr(own, "max_position_embeddings", None) or 2048,
        eos=eos_ids(directory, config),
        bos=config.get("bos_token_id"),
        dtype=str(dtype).removeprefix("torch."),
        device=str(device),
        params=sum(parameter.numel() for parameter in network.parameters()),
        tied=out is not None and out.weight is table,
        lean=False,
    )


def _check_attention(model: TransformersModel) -> None:
    """A pass over two branches must give what the model's own attention gives for each path alone."""
    prompt, ends = [1, 3, 2, 5, 4], ([2, 1, 3], [4, 4, 1])
    batch = Batch(segments=[Segment(-1, 0, 5), Segment(0, 5, 3), Segment(0, 8, 3)])
    for segment, tokens in enumerate((prompt, *ends)):
        begin = len(prompt) if segment else 0
        for at, token in enumerate(tokens):
            batch.tokens.append(token % model.config.vocab)
            batch.positions.append(begin + at)
            batch.segment.append(segment)
            batch.visible.append(at + 1)
    batch.slots = list(range(11))
    batch.wanted = [7, 10]
    ours = model.forward(batch, model.new_store(11))
    model.network.set_attn_implementation("eager")
    with torch.inference_mode():
        paths = torch.tensor([[*prompt, *end] for end in ends], device=model.device) % model.config.vocab
        theirs = torch.stack(
            [model.network(path.unsqueeze(0), use_cache=False).logits[0, -1] for path in paths]
        )
    model.network.set_attn_implementation(NAME)
    worst = (ours - theirs.to(ours.dtype)).abs().max().item()
    allowed = (0.1 if model.dtype == torch.bfloat16 else 2e-3) * max(1.0, theirs.abs().max().item())
    if not worst <= allowed:
        raise ModelError(
            f"{model.config.family!r} computes other logits with packed rows (off by {worst:.3g}); "
            "its attention is of a kind that is not supported"
        )
