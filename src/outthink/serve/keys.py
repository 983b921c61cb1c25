"""API keys from a file: one a line, `name: key` or the key alone; # begins a comment."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from pathlib import Path

from outthink.core.errors import BadInput

SHORTEST = 16


@dataclass(frozen=True)
class Keys:
    """Digests of keys by who has them. Without any, everybody is let in, as one user."""

    digests: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)

    def holder(self, given: str) -> str | None:
        """Whose key this is. Every key is compared in full, so that time tells nothing."""
        if not self.digests:
            return "anyone"
        digest, found = _digest(given), None
        for name, known in self.digests:
            if hmac.compare_digest(digest, known):
                found = name
        return found


def read_keys(path: Path) -> Keys:
    """The keys of a file. BadInput says which line is wrong, and never what it holds."""
    found: dict[str, bytes] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise BadInput(f"cannot read the keys in {path}: {reason}") from None
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        name, colon, key = text.rpartition(":")
        name, key = name.strip() if colon else f"key{number}", key.strip()
        if len(key) < SHORTEST or any(c.isspace() for c in key) or not key.isascii():
            raise BadInput(f"{path}:{number}: a key is {SHORTEST} or more ASCII characters without spaces")
        if not name or name in found:
            raise BadInput(f"{path}:{number}: give every key a name of its own")
        found[name] = _digest(key)
    if not found:
        raise BadInput(f"{path} holds no key: write one a line, as name: key")
    return Keys(tuple(found.items()))


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
