"""Errors in OpenAI's shape."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

from pydantic import ValidationError
from starlette.responses import JSONResponse

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class Refused(Exception):
    """A request that gets no answer; `status` is HTTP's."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = error_body(status, message, code, param)
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status, self.headers)


def error_body(
    status: int, message: str, code: str | None = None, param: str | None = None
) -> dict[str, Any]:
    """What OpenAI's clients read errors from."""
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def invalid(error: ValidationError) -> Refused:
    """The first thing that is wrong with a body, by the field's path.

    Of alternatives, the one of the right type, else the one that got furthest.
    """
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    stem = tuple(takewhile(lambda step: not _is_variant(step), errors[0]["loc"]))
    alike = [e for e in errors if e["loc"][: len(stem)] == stem]
    first = max(alike, key=lambda e: (not e["type"].endswith("_type"), len(e["loc"])))
    path = ".".join(str(step) for step in first["loc"] if not _is_variant(step))
    said = first["msg"].removeprefix("Value error, ")
    return Refused(400, f"{path}: {said}" if path else said, param=path or None)


def _is_variant(step: Any) -> bool:
    """Whether a step of a path names an alternative of a union: a type, which is nobody's field."""
    return isinstance(step, str) and not (step.isidentifier() and step.islower())
