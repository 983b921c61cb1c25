"""The fixture of this folder; what tests share by name is in sums.py."""

from __future__ import annotations

from sums import serve

__all__ = ["serve"]
