"""A thousand requests through a proxy that breaks a third of them."""

from __future__ import annotations

from benchmarks import faults


def test_a_thousand_broken_requests_end_once_and_leave_nothing() -> None:
    found = faults.run(1000, 32)
    assert found["ended once"] == 1000 and not any(found["left"].values())
    assert not [verdict for verdict in found["verdicts"] if verdict.startswith("WRONG")]
    assert found["verdicts"]["right"] > 900 and sum(found["faults"].values()) > 300
    assert len(found["faults"]) == len(faults.FAULTS)
