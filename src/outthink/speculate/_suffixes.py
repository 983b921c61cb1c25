"""A datastore of texts: every place sorted by the tokens *before* it, in one file that is mapped, not read.

    b"outthink store 1\\n"
    {"tokenizer": ..., "vocab": ..., "tokens": n, "width": bytes of a token, "texts": ..., "endian": ...}
    checksum of all but itself, and spaces up to a multiple of 8\\n
    n tokens, all texts one after another, last token first; `vocab` stands between texts
    n x int32: the places, sorted by what begins there (the text reversed: what came before, backwards)

One bisection finds where the last tokens of a context belong in that order, and its neighbours there have the
longest suffix in common with it. The order is exact to a depth of 32 tokens.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import sys
from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from outthink.core.errors import BadInput
from outthink.core.files import write_whole

MAGIC = b"outthink store 1\n"
DEPTH = 32  # tokens that the order goes by
MOST = 2**31 - 2


def fingerprint(tokenizer: Any, vocab: int) -> str:
    """A name for a tokenizer: what some of its tokens say. Equal for equal vocabularies."""
    ids = range(0, vocab, max(1, vocab // 512))
    words = [_word(tokenizer, i) for i in ids]
    return hashlib.blake2b(repr((vocab, words)).encode(), digest_size=8).hexdigest()


def _word(tokenizer: Any, token: int) -> str:
    try:
        return str(tokenizer.decode([token]))
    except (KeyError, IndexError, ValueError, OverflowError):  # a row of the model that no text uses
        return ""


def build(path: Path | str, texts: Iterable[Sequence[int]], tokenizer: Any, vocab: int) -> int:
    """Write a datastore of tokenized texts, all at once; its size in bytes.

    Texts are taken one by one: 4 bytes a token are kept of them. Sorting takes about 40 more for a moment.
    Raises BadInput where there is nothing, or too much.
    """
    parts, count = array("I"), 0
    for text in texts:
        if text and not 0 <= min(text) <= max(text) < vocab:
            raise BadInput(f"the texts have tokens outside of the vocabulary of {vocab}")
        parts.extend(text)
        parts.append(vocab)
        count += 1
        if len(parts) > MOST:
            raise BadInput(f"these are too many tokens for one datastore: at most {MOST}")
    if len(parts) <= count:
        raise BadInput("a datastore needs texts: give at least one that is not empty")
    tokens = np.asarray(parts).astype(np.uint16 if vocab < 2**16 else np.uint32)[::-1].copy()
    body = tokens.tobytes()
    body += bytes(-len(body) % 4) + _sorted(tokens).tobytes()
    header = {
        "tokenizer": fingerprint(tokenizer, vocab),
        "vocab": vocab,
        "tokens": len(tokens),
        "width": tokens.itemsize,
        "texts": count,
        "endian": sys.byteorder,
    }
    words = json.dumps(header).encode()
    head = MAGIC + words + b" " + _checksum(words, body)
    whole = head + b" " * (-(len(head) + 1) % 8) + b"\n" + body
    write_whole(Path(path), whole)
    return len(whole)


def _checksum(header: bytes, body: bytes | memoryview) -> bytes:
    code = hashlib.blake2b(header, digest_size=16)
    code.update(body)
    return code.hexdigest().encode()


def _sorted(tokens: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The suffixes' places in the order of their first DEPTH tokens, by doubling; ties in order of place."""
    n = len(tokens)
    rank = tokens.astype(np.int64)
    order = np.argsort(rank, kind="stable")
    width = 1
    while width < DEPTH:
        ahead = np.zeros(n, np.int64)
        ahead[: max(n - width, 0)] = rank[width:] + 1
        key = rank * (int(ahead.max(initial=0)) + 1) + ahead
        order = np.argsort(key, kind="stable")
        steps = np.concatenate([[0], key[order][1:] != key[order][:-1]])
        rank[order] = np.cumsum(steps)
        width *= 2
        if steps.sum() == n - 1:
            break
    return order.astype(np.int32)


class Suffixes:
    """An open datastore."""

    def __init__(self, path: Path) -> None:
        self.path = path
        header, offset, data = _read(path)
        n, width = header["tokens"], header["width"]
        kind: Any = np.uint16 if width == 2 else np.uint32
        self.vocab: int = header["vocab"]
        self.tokenizer: str = header["tokenizer"]
        self.texts: int = header["texts"]
        self.size = n
        places = offset + n * width + -n * width % 4
        self._tokens, self._order = (
            np.frombuffer(data, kind, n, offset),
            np.frombuffer(data, np.int32, n, places),
        )
        view = memoryview(data)  # reads one item faster than an array
        self.tokens = view[offset : offset + n * width].cast("H" if width == 2 else "I")
        self.order = view[places:].cast("i")

    def bisect(self, backwards: Sequence[int], is_upper: bool = False) -> int:
        """Where tokens, the last one first, belong in the order: before or after all that begin so."""
        tokens, order, size, low, high = self.tokens, self.order, len(backwards), 0, self.size
        wanted = list(backwards)
        while low < high:
            middle = (low + high) >> 1
            at = order[middle]
            found = tokens[at : at + size].tolist()
            if found < wanted or (is_upper and found == wanted):
                low = middle + 1
            else:
                high = middle
        return low

    def count(self, words: Sequence[int]) -> int:
        """How often these tokens occur in a row, at most 32 of them."""
        low, high = self._range(words)
        return high - low

    def followers(self, words: Sequence[int]) -> dict[int, int]:
        """How often each token follows these: exact counts. The end of a text is no token."""
        low, high = self._range(words)
        places = self._order[low:high]
        after = self._tokens[places[places > 0] - 1]
        found, counts = np.unique(after[after < self.vocab], return_counts=True)
        return dict(zip(found.tolist(), counts.tolist(), strict=True))

    def _range(self, words: Sequence[int]) -> tuple[int, int]:
        if not 1 <= len(words) <= DEPTH:
            raise BadInput(f"counting takes 1 to {DEPTH} tokens, not {len(words)}")
        backwards = list(words)[::-1]
        return self.bisect(backwards), self.bisect(backwards, is_upper=True)

    def after(
        self, context: Sequence[int], least: int, longest: int, most: int, depth: int
    ) -> tuple[int, list[list[int]]]:
        """(length, what followed): the longest match of a context's end, and up to `most` continuations."""
        backwards = context[: -longest - 1 : -1]
        at = self.bisect(backwards)
        below, above = self._shared(at - 1, backwards), self._shared(at, backwards)
        length = max(below, above)
        if length < least:
            return 0, []
        found: list[list[int]] = []
        for start, step in ((at, 1), (at - 1, -1)):
            entry = start
            while abs(entry - start) < most // 2 and self._shared(entry, backwards[:length]) == length:
                found.append(self._continuation(self.order[entry], depth))
                entry += step
        return length, [text for text in found if text]

    def _shared(self, entry: int, backwards: Sequence[int]) -> int:
        """How many tokens an entry of the order has in common with these."""
        if not 0 <= entry < self.size:
            return 0
        at = self.order[entry]
        found = self.tokens[at : at + len(backwards)].tolist()
        for i, (a, b) in enumerate(zip(found, backwards, strict=False)):
            if a != b:
                return i
        return len(found)

    def _continuation(self, place: int, depth: int) -> list[int]:
        """What followed a place, up to the end of its text."""
        words: list[int] = self.tokens[max(place - depth, 0) : place].tolist()[::-1]
        return words[: words.index(self.vocab)] if self.vocab in words else words


def _read(path: Path) -> tuple[dict[str, Any], int, mmap.mmap]:
    """(header, where the tokens begin, the mapped file). Raises BadInput that names the file."""
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise BadInput(
            f"cannot read the datastore {path}: {getattr(error, 'strerror', None) or error}"
        ) from None
    if data[: len(MAGIC)] != MAGIC:
        raise BadInput(f"{path} is no datastore of this version: build it again")
    end = data.find(b"\n", len(MAGIC), len(MAGIC) + 4096)
    try:
        words, _, checksum = data[len(MAGIC) : end].rstrip().rpartition(b" ")
        header = json.loads(words)
        n, width = int(header["tokens"]), int(header["width"])
        is_whole = width in (2, 4) and len(data) == end + 1 + n * width + -n * width % 4 + n * 4
        is_whole = is_whole and _checksum(words, memoryview(data)[end + 1 :]) == checksum
        is_whole = is_whole and header["endian"] == sys.byteorder
        header["vocab"], header["tokenizer"], header["texts"]
    except (ValueError, KeyError, TypeError):
        is_whole = False
    if not is_whole:
        raise BadInput(f"the datastore {path} is corrupt: build it again")
    return header, end + 1, data


@lru_cache(maxsize=8)
def _opened(path: Path, changed: int, size: int) -> Suffixes:
    return Suffixes(path)


def open_suffixes(path: str) -> Suffixes:
    """The datastore in a file, checked once for every version of the file. Raises BadInput."""
    place = Path(path)
    try:
        about = place.stat()
    except OSError as error:
        raise BadInput(f"cannot read the datastore {path}: {error.strerror}") from None
    return _opened(place, about.st_mtime_ns, about.st_size)
