"""What a probe has found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from outthink.backends.remote.fleet import Endpoint
from outthink.backends.remote.wire import Features


@dataclass
class Check:
    """One line of the table."""

    name: str
    found: str  # "yes", "no", or a value
    note: str = ""


@dataclass
class Probe:
    """What was found, and at which endpoints."""

    features: Features
    checks: list[Check] = field(default_factory=list)
    endpoints: list[Endpoint] = field(default_factory=list)
    is_tokenizer_known: bool = False

    def as_dict(self) -> dict[str, Any]:
        features = {k: sorted(v) if isinstance(v, frozenset) else v for k, v in asdict(self.features).items()}
        return {
            "endpoints": [{"url": e.url, "model": e.model} for e in self.endpoints],
            "features": features,
            "checks": [asdict(check) for check in self.checks],
        }
