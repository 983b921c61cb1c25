"""An error that crosses a join keeps its kind, whatever its constructor takes."""

from __future__ import annotations

import pytest

from outthink.core.errors import BadInput, BudgetExceeded, UnknownName
from outthink.core.trampoline import fresh


@pytest.mark.parametrize(
    "error",
    [
        UnknownName("model", "pockt", ["pocket"]),
        BadInput("no"),
        BudgetExceeded("scope", "what"),
        OSError(2, "gone"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"),
        KeyError("k"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_fresh_error_is_the_same_with_its_cause(error: BaseException) -> None:
    new = fresh(error)
    assert type(new) is type(error) and str(new) == str(error) and new.__dict__ == error.__dict__
    assert new is not error and new.__cause__ is error
