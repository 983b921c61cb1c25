"""The OpenAPI document, made from the typed bodies."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic.json_schema import models_json_schema

from outthink.serve.fields import ChatBody, TextBody

ERRORS = {
    "400": "something in the body is wrong",
    "401": "a key is needed",
    "403": "a local server is called by another name",
    "404": "no such model",
    "408": "the body came too slowly",
    "413": "the body is too long",
    "415": "the body is no JSON",
    "429": "the queue is full; Retry-After says when to come again",
    "500": "the server failed",
    "503": "the server is shutting down or has lost its engine",
}


@cache
def document() -> dict[str, Any]:
    """The whole document."""
    kinds = [(ChatBody, "validation"), (TextBody, "validation")]
    _, schemas = models_json_schema(kinds, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    return {
        "openapi": "3.1.0",
        "info": {"title": "outthink", "version": "1", "description": "OpenAI's interface to strategies."},
        "paths": {
            "/v1/chat/completions": _post("Answer a conversation", "ChatBody"),
            "/v1/completions": _post("Go on from a text", "TextBody"),
            "/v1/models": _get("The model that is served"),
            "/v1/models/{name}": _get("One model, with or without a strategy") | {"parameters": [_name()]},
            "/health": _get("Whether the engine answers", errors=("503",)),
            "/metrics": _get("Numbers for Prometheus", kind="text/plain"),
        },
        "components": {
            "schemas": schemas["$defs"] | {"Error": _error()},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _post(summary: str, body: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{body}"}}}
    good = {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {}}
    responses = {"200": {"description": "the answer, or its stream", "content": good}}
    return {
        "post": {
            "summary": summary,
            "requestBody": {"required": True, "content": content},
            "responses": responses | _errors(tuple(ERRORS)),
        }
    }


def _get(summary: str, kind: str = "application/json", errors: tuple[str, ...] = ()) -> dict[str, Any]:
    good = {"200": {"description": "as it says", "content": {kind: {}}}}
    return {"get": {"summary": summary, "responses": good | _errors(("401", "403", "404", *errors))}}


def _errors(statuses: tuple[str, ...]) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {status: {"description": ERRORS[status], "content": content} for status in statuses}


def _name() -> dict[str, Any]:
    return {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}


def _error() -> dict[str, Any]:
    text = {"type": ["string", "null"]}
    fields = {"message": {"type": "string"}, "type": {"type": "string"}, "param": text, "code": text}
    inner = {"type": "object", "required": list(fields), "properties": fields}
    return {"type": "object", "required": ["error"], "properties": {"error": inner}}
