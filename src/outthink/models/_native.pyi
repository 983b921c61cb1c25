"""The extension in native/; see module.c."""

from outthink.core.batch import Batch
from outthink.core.jobs import Draw

Matrix = tuple[int, int, int, int, int, int]  # panels, bias, scales, outputs, depth, kind
Layer = tuple[Matrix, Matrix, Matrix, Matrix, int, int, int]

def levels() -> list[str]: ...
def pack(weight: int, outputs: int, depth: int, wide: bool, to: int, /) -> None: ...
def create(
    vocab: int,
    hidden: int,
    heads: int,
    kv_heads: int,
    dim: int,
    inner: int,
    eps: float,
    embed: int,
    embed_wide: bool,
    gain: int,
    head: Matrix,
    layers: list[Layer],
    /,
) -> object: ...
def forward(
    model: object,
    level: str,
    threads: int,
    batch: Batch,
    cache: int,
    cache_slots: int,
    layer_slots: int,
    cache_half: bool,
    turns: int,
    num_turns: int,
    layers: list[int],
    only_hidden: bool,
    out: int,
    /,
) -> None: ...
def write(
    model: object,
    level: str,
    threads: int,
    batch: Batch,
    cache: int,
    cache_slots: int,
    layer_slots: int,
    cache_half: bool,
    turns: int,
    num_turns: int,
    layers: list[int],
    only_hidden: bool,
    out: int,
    draws: list[Draw],
    temperature: float,
    steps: int,
    ends: bytes,
    /,
) -> tuple[list[list[tuple[int, float, tuple[()]]]], float]: ...
def draw(
    level: str,
    threads: int,
    logits: int,
    rows: int,
    vocab: int,
    temperature: float,
    draws: list[Draw],
    /,
) -> list[tuple[int, float, tuple[()]]]: ...
def along(
    level: str,
    vocab: int,
    temperature: float,
    draw: Draw,
    addresses: list[int],
    told: list[int],
    ends: bytes,
    /,
) -> list[tuple[int, float, tuple[()]]]: ...
def likeliest(
    level: str, logits: int, rows: int, vocab: int, count: int, which: list[int], /
) -> list[tuple[tuple[int, float], ...]]: ...
