"""What the operator decides, once."""

from __future__ import annotations

from dataclasses import dataclass, field

from outthink.serve.keys import Keys
from outthink.serve.wire import Limits


@dataclass(frozen=True)
class Settings:
    """How the server behaves; `limits` bind on every request, whatever it asks for."""

    name: str = ""  # what the model is called; empty: its own name
    limits: Limits = field(default_factory=Limits)
    max_running: int = 128  # requests in the engine
    max_waiting: int = 256  # requests in line; what comes on top gets 429
    max_body: int = 4 * 2**20  # bytes
    max_depth: int = 16  # levels of JSON
    body_seconds: float = 30.0  # to send a body in
    grace: float = 20.0  # seconds that running requests get at shutdown
    alive: float = 5.0  # seconds between signs of life on a silent stream
    keys: Keys = field(default_factory=Keys)
    is_local: bool = True  # bound to this machine only: other Host headers are refused
