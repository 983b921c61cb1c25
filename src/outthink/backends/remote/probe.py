"""Probe every endpoint of a fleet, and say what all of them can do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from outthink.backends.remote.faults import EndpointError
from outthink.backends.remote.fleet import Endpoint
from outthink.backends.remote.found import Check, Probe
from outthink.backends.remote.network import Network
from outthink.backends.remote.trial import Trial
from outthink.backends.remote.wire import Features
from outthink.core.errors import BadInput


async def probe_all(
    network: Network, endpoints: Sequence[Endpoint], api: str | None, has_template: bool
) -> Probe:
    """Probe each; what all that answer can do. Raises EndpointError or BadInput where none answers."""
    trials = [Trial(network, endpoint, api, has_template) for endpoint in endpoints]
    results = await asyncio.gather(*(trial.run() for trial in trials), return_exceptions=True)
    found = [r for r in results if isinstance(r, Probe)]
    errors = [r for r in results if isinstance(r, BaseException)]
    unexpected = [e for e in errors if not isinstance(e, (EndpointError, BadInput))]
    if unexpected or not found:
        raise (unexpected or errors)[0]
    checks = found[0].checks if len(found) == 1 else _merged(found)
    checks += [Check("out", "yes", str(error)) for error in errors]
    return Probe(_common([p.features for p in found]), checks, [p.endpoints[0] for p in found])


def _common(found: Sequence[Features]) -> Features:
    """What every endpoint of a fleet can do."""
    first = found[0]
    if any(f.style != first.style or f.cap_field != first.cap_field for f in found):
        raise BadInput(
            "the endpoints of this fleet speak differently (chat, completions): give --api, or part them"
        )
    flags = (
        "raw",
        "goes_on",
        "usage",
        "logprobs",
        "keeps_stops",
        "tells_stops",
        "n",
        "seed",
        "prompt_logprobs",
    )
    alike: dict[str, Any] = {name: all(getattr(f, name) for f in found) for name in flags}
    contexts = [f.context for f in found if f.context is not None]
    return replace(
        first,
        **alike,
        top=min(f.top for f in found),
        echo=first.echo if all(f.echo == first.echo for f in found) else None,
        extras=frozenset.intersection(*(f.extras for f in found)),
        plain=tuple(field for field in first.plain if all(field in f.plain for f in found)),
        context=min(contexts, default=None),
        per_piece=max(f.per_piece for f in found),
    )


def _merged(found: Sequence[Probe]) -> list[Check]:
    return [
        Check(f"{probe.endpoints[0].url} {check.name}", check.found, check.note)
        for probe in found
        for check in probe.checks
    ]
