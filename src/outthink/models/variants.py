"""Variants of torch models, for drafters: some layers alone, or matrices in 8 bits, on the model's own cache.

    layers   the chosen blocks one after the other, each on the cache of its own number
    8 bits   every matrix W as in `linear.Int8Linear`: rounded, one scale per output; rounded once, when it is
             first asked for, and held beside the model

The native kernels have their own (`native.NativeVariant`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from outthink.core.jobs import Variant
from outthink.models.errors import ModelError
from outthink.models.layer import Layer
from outthink.models.linear import Int8Linear, Linear

if TYPE_CHECKING:
    from outthink.models.hf import TransformersModel
    from outthink.models.llama import LeanModel


def lean_variant(model: LeanModel, variant: Variant) -> LeanModel:
    """A lean model of some layers, or in 8 bits, or both; all else is shared with the model.

    Raises ModelError for 8 bits of a model that is in 8 bits already.
    """
    made = copy.copy(model)
    made.which = _which(variant, model.config.layers)
    layers = [model.layers[index] for index in made.which]
    if variant.is_int8:
        layers = [_layer(layer, model.device) for layer in layers]
        made.head = _rounded(model.head, model.device)
        rounded = [matrix for layer in layers for matrix in layer.matrices] + [made.head]
        made.state_bytes = made.weight_bytes = _bytes(rounded)
    made.layers, made.rows, made.row = layers, None, None
    return made


def _layer(layer: Layer, device: torch.device) -> Layer:
    qkv, out, gate_up, down = (_rounded(matrix, device) for matrix in layer.matrices)
    return replace(layer, qkv=qkv, out=out, gate_up=gate_up, down=down)


def _rounded(matrix: Linear | Int8Linear, device: torch.device) -> Int8Linear:
    if isinstance(matrix, Int8Linear):
        raise ModelError("the model is in 8 bits already; draft with another drafter")
    return Int8Linear(matrix.dense().float(), matrix.bias, device)


def _which(variant: Variant, layers: int) -> Sequence[int]:
    return range(layers) if variant.layers is None else variant.layers


def _bytes(matrices: Iterable[Linear | Int8Linear]) -> float:
    """A byte a weight, and a scale in float32 for each output."""
    return float(sum(matrix.outputs * (matrix.inputs + 4) for matrix in matrices))


# ---- through transformers


class Rounded(torch.nn.Module):
    """A matrix of a transformers model in 8 bits."""

    def __init__(self, matrix: Int8Linear) -> None:
        super().__init__()
        self.matrix = matrix

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., inputs] -> [..., outputs], in the type of x."""
        return self.matrix(x.flatten(0, -2)).unflatten(0, x.shape[:-1]).to(x.dtype)


def transformers_variant(model: TransformersModel, variant: Variant) -> TransformersModel:
    """The same of a transformers model: its modules are copied, but no weight.

    Raises ModelError where its blocks are not one list, or it has no matrices to round.
    """
    made, network = copy.copy(model), model.network
    shared = (*network.parameters(), *network.buffers())
    made.network = copy.deepcopy(network, {id(tensor): tensor for tensor in shared})
    made.which = _which(variant, model.config.layers)
    if variant.layers is not None:
        _leave_out(made)
    if variant.is_int8:
        made.state_bytes = made.weight_bytes = _bytes(_round_all(made.network))
    return made


def _leave_out(model: TransformersModel) -> None:
    """Keep the blocks `which` alone."""
    network, layers = model.network, model.config.layers
    found = [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent.named_children()
        if isinstance(child, torch.nn.ModuleList) and len(child) == layers
    ]
    if len(found) != 1:
        raise ModelError(
            f"the layers of {model.config.family!r} are not one list: none can be left out; draft with int8"
        )
    [(parent, name, blocks)] = found
    setattr(parent, name, torch.nn.ModuleList([blocks[index] for index in model.which]))


def _round_all(network: Any) -> list[Int8Linear]:
    """Put a rounded matrix in the place of every other."""
    from transformers.pytorch_utils import Conv1D  # a matrix lying on its side, as GPT-2 has them

    made: dict[torch.nn.Module, Rounded] = {}
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) not in (torch.nn.Linear, Conv1D):
                continue
            if child not in made:
                weight = child.weight.detach().float()
                weight = weight if isinstance(child, torch.nn.Linear) else weight.t().contiguous()
                bias = None if child.bias is None else child.bias.detach()
                made[child] = Rounded(Int8Linear(weight, bias, weight.device))
            setattr(parent, name, made[child])
    if not made:
        raise ModelError(f"{network.config.model_type!r} has no matrices that can be rounded to 8 bits")
    return [module.matrix for module in made.values()]
