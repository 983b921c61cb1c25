"""Reading bodies: no longer, deeper or slower than one may be."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request

from outthink.serve.errors import Refused, invalid
from outthink.serve.fields import Body
from outthink.serve.settings import Settings

B = TypeVar("B", bound=Body)


async def read_body(request: Request, kind: type[B], settings: Settings) -> B:
    """The body of a request, checked. Raises Refused."""
    sort = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sort != "application/json":  # a web page elsewhere could send any other without being asked back
        raise Refused(415, "send the body as Content-Type: application/json")
    try:
        async with asyncio.timeout(settings.body_seconds):
            raw = await _read(request, settings.max_body)
    except TimeoutError:
        raise Refused(408, f"the body took longer than {settings.body_seconds:g} s") from None
    given = parse(raw, settings.max_depth)
    if not isinstance(given, dict):
        raise Refused(400, "the body is no JSON object")
    try:
        return kind.model_validate(_flat(given))
    except ValidationError as error:
        raise invalid(error) from None


def _flat(given: dict[str, Any]) -> dict[str, Any]:
    """The body with the fields of `extra_body` beside the others: some clients send both. Raises Refused."""
    more = given.get("extra_body")
    if not isinstance(more, dict):
        return given
    plain = {name: value for name, value in given.items() if name != "extra_body"}
    for name, value in more.items():
        if plain.get(name, value) != value:
            said = f"{name[:40]!r} is given twice, and differs: in the body and in its extra_body"
            raise Refused(400, said, param=name[:40])
    return plain | more


async def _read(request: Request, most: int) -> bytes:
    parts, size = [], 0
    try:
        async for part in request.stream():
            parts.append(part)
            size += len(part)
            if size > most:
                raise Refused(413, f"the body is longer than {most} bytes")
    except ClientDisconnect:
        raise Refused(400, "the client went away") from None
    return b"".join(parts)


def parse(raw: bytes, most: int) -> Any:
    """JSON without NaN and at most so many levels deep; 8.0 is the whole number 8. Raises Refused."""
    try:
        given = json.loads(raw, parse_constant=_no_constant, parse_float=_number)
    except RecursionError:
        raise Refused(400, f"the body is nested deeper than {most} levels") from None
    except ValueError as error:  # bad UTF-8 and endless numbers too
        raise Refused(400, f"the body is no JSON: {str(error)[:100]}") from None
    level = [given]
    for _ in range(most):
        below = [value for value in level if isinstance(value, (dict, list))]
        level = [v for one in below for v in (one.values() if isinstance(one, dict) else one)]
    if not any(isinstance(value, (dict, list)) for value in level):
        return given
    raise Refused(400, f"the body is nested deeper than {most} levels")


def _number(digits: str) -> float:
    """JSON knows one kind of numbers, and its schemas call 8.0 an integer."""
    value = float(digits)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
