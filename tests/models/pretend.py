"""A device that is not there: tensors that say they are on CUDA, computed on the CPU.

`Pretend` holds a CPU tensor and says it is on "cuda:0". Inside `pretended()` every operation on such tensors
is done on what they hold; a tensor of the CPU among its operands raises, as CUDA does (single numbers
excepted), unless the operation copies. Factories that name the device make such tensors. Each time the host
reads a number it has to wait for the device: `Seen.waits` counts that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("cuda", 0)
COPIES = {"aten::to", "aten::_to_copy", "aten::copy_"}
READS = {
    f"aten::{name}" for name in "item _local_scalar_dense is_nonzero nonzero nonzero_numpy equal".split()
}


class Pretend(torch.Tensor):
    """A tensor that says it is on CUDA."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Pretend:
        self = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, device="meta"
        )
        self.held = held
        return self

    @property
    def device(self) -> torch.device:
        return DEVICE

    @property
    def is_cuda(self) -> bool:
        return True

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{op} outside of pretended()")


@dataclass
class Seen:
    """What the host did."""

    waits: int = 0  # for the device, to read what it has computed
    uploads: int = 0  # copies to the device
    synchronize: Any = None  # calls of torch.cuda.synchronize, a mock


class _Calls(TorchFunctionMode):
    """What never reaches the dispatcher as an operation on tensors."""

    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self.seen = seen

    def __torch_function__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = dict(kwargs or {})
        if call is torch.tensor and _is_there(given.get("device")):
            self.seen.uploads += 1
            return Pretend(torch.tensor(*args, **{**given, "device": "cpu"}))
        if call is torch.Tensor.to and any(map(_is_there, (*args[1:], given.get("device")))):
            comes, held = not isinstance(args[0], Pretend), _held(args[0])
            self.seen.uploads += comes
            dtypes = [x for x in (*args[1:], *given.values()) if isinstance(x, torch.dtype)]
            return Pretend(held.to(*(dtypes or [held.dtype]), copy=comes))
        if call in (torch.Tensor.tolist, torch.Tensor.numpy) and isinstance(args[0], Pretend):
            if call is torch.Tensor.numpy:
                raise TypeError("can't convert cuda:0 device type tensor to numpy")
            self.seen.waits += 1
            return args[0].held.tolist()
        return call(*args, **given)


class _Operations(TorchDispatchMode):
    """Every operation with a tensor that is there, or that makes one."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch wraps every call, and imports its compiler for that

    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves = tree_leaves((args, kwargs))
        there = [x for x in leaves if isinstance(x, Pretend)]
        here = [x for x in leaves if isinstance(x, torch.Tensor) and not isinstance(x, Pretend)]
        asked = [x for x in leaves if isinstance(x, torch.device)]
        if not there and not any(map(_is_there, asked)):
            return op(*args, **(kwargs or {}))
        name = op._schema.name
        if there and name not in COPIES and any(x.dim() for x in here):
            raise RuntimeError(f"{name}: expected all tensors to be on cuda:0, but found one on the CPU")
        self.seen.uploads += name in COPIES and bool(here)
        if name == "aten::copy_":
            self.seen.waits += not isinstance(args[0], Pretend)
            _held(args[0]).copy_(*tree_map(_held, args[1:]), **(kwargs or {}))
            return args[0]
        out = op(*tree_map(_held, args), **tree_map(_held, kwargs or {}))
        leaves_it = name in COPIES and any(device.type == "cpu" for device in asked)
        self.seen.waits += leaves_it or name in READS
        return out if leaves_it else tree_map(_lent, out)


def _is_there(device: Any) -> bool:
    """Whether a device is the pretended one: torch itself takes it for "meta", which is what is below."""
    return isinstance(device, str | torch.device) and torch.device(device).type in ("cuda", "meta")


def _held(x: Any) -> Any:
    """What an operand is on the CPU."""
    return torch.device("cpu") if isinstance(x, torch.device) else x.held if isinstance(x, Pretend) else x


def _lent(x: Any) -> Any:
    """A result, there. Numbers are the host's."""
    return Pretend(x) if isinstance(x, torch.Tensor) else x


@contextmanager
def pretended() -> Iterator[Seen]:
    """Here "cuda" is a device."""
    seen = Seen()
    with mock.patch("torch.cuda._lazy_init"), mock.patch("torch.cuda.synchronize") as synchronize:
        seen.synchronize = synchronize
        with torch.inference_mode(), _Calls(seen), _Operations(seen):
            yield seen
