"""The paths, and what is refused before anybody works."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from outthink.core.errors import BadInput
from outthink.serve import replies
from outthink.serve.bodies import read_body
from outthink.serve.errors import Refused
from outthink.serve.fields import ChatBody, Common, TextBody
from outthink.serve.gateway import DRAINING, Call, Gateway
from outthink.serve.line import Busy
from outthink.serve.openapi import document
from outthink.serve.order import NoModel, chat_orders, strategies, strategy_of, summaries, text_orders
from outthink.serve.replies import Form
from outthink.serve.settings import Settings
from outthink.serve.streams import EventStream, Stream, gone
from outthink.serve.wire import Ended, News, Order, Ready

log = logging.getLogger("outthink.serve")
HERE = Path(__file__).parent
EARLY = 1.0  # seconds in which an order may fail with a status of its own before its stream begins
LOCAL = ("localhost", "127.0.0.1", "[::1]")
OPEN = ("/", "/docs", "/openapi.json", "/health")  # without a key
POLICY = (
    "default-src 'self'; img-src data:; style-src 'unsafe-inline'; script-src {script}; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
Handler = Callable[[Request], Awaitable[Response]]


class Server:
    """Handlers of all paths."""

    def __init__(self, gateway: Gateway, settings: Settings, ready: Ready) -> None:
        self.gateway = gateway
        self.settings = settings
        self.ready = ready
        self.model = settings.name or ready.model
        self.started = int(time.time())

    def app(self, connect: Callable[[], Awaitable[None]]) -> Gate:
        """The application; `connect` is called once there is a loop."""

        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            await connect()
            yield
            await self.gateway.close()

        routes = [
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/completions", self._text, methods=["POST"]),
            Route("/v1/models", self._models),
            Route("/v1/models/{name:path}", self._one_model),
            Route("/health", self._health),
            Route("/metrics", self._metrics),
            Route("/openapi.json", self._openapi),
            Route("/docs", _page("docs.html")),
            Route("/", _page("page.html")),
        ]
        inner = Starlette(routes=routes, lifespan=lifespan)
        inner.add_exception_handler(HTTPException, _no_such_path)
        inner.add_exception_handler(Refused, _refuse)
        return Gate(inner, self)

    # ---- completions

    async def _chat(self, request: Request) -> Response:
        body = await read_body(request, ChatBody, self.settings)
        make = lambda: chat_orders(body, *self._for(request))  # noqa: E731
        form = self._form(body, True, logprobs=(body.top_logprobs or 0) if body.logprobs else None)
        return await self._complete(request, body, form, make)

    async def _text(self, request: Request) -> Response:
        body = await read_body(request, TextBody, self.settings)
        make = lambda: text_orders(body, *self._for(request))  # noqa: E731
        form = self._form(body, False, is_echoed=bool(body.echo), logprobs=body.logprobs)
        return await self._complete(request, body, form, make)

    def _for(self, request: Request) -> tuple[Any, ...]:
        who = request.state.who if self.settings.keys.digests else ""  # then each request is for itself
        return self.model, self.settings.limits, who, self.gateway.number

    def _form(self, body: Common, is_chat: bool, **given: Any) -> Form:
        options = body.stream_options
        with_usage = bool(body.stream and options is not None and options.include_usage)
        return Form(is_chat, body.model, "", with_usage, **given)

    async def _complete(
        self, request: Request, body: Common, form: Form, make: Callable[[], list[Order]]
    ) -> Response:
        if self.gateway.is_draining:
            raise Refused(503, DRAINING, retry_after=5)
        if body.stream and body.prompt_logprobs is not None:
            raise Refused(400, "prompt_logprobs cannot be streamed: leave stream out", param="stream")
        try:
            orders = make()
        except NoModel as error:
            raise Refused(404, str(error), code="model_not_found", param="model") from None
        except (BadInput, ValueError) as error:
            raise Refused(400, str(error)) from None
        form = Form(**{**form.__dict__, "strategy": repr(orders[0].strategy)})
        calls = self._call(orders)
        try:
            if body.stream:
                return await self._stream(form, calls)
            return await self._whole(request, form, calls)
        except BaseException:
            for call in calls:
                self.gateway.drop(call)
            raise

    def _call(self, orders: list[Order]) -> list[Call]:
        calls: list[Call] = []
        try:
            for order in orders:
                calls.append(self.gateway.call(order))
        except Busy as error:
            for call in calls:
                self.gateway.drop(call)
            raise Refused(429, str(error), code="queue_full", retry_after=error.seconds) from None
        return calls

    async def _whole(self, request: Request, form: Form, calls: list[Call]) -> Response:
        ends: asyncio.Future[Any] = asyncio.ensure_future(asyncio.gather(*(call.end() for call in calls)))
        leaving: asyncio.Future[Any] = asyncio.ensure_future(gone(request.receive))
        try:
            await asyncio.wait({ends, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not ends.done():
                self.gateway.metrics.disconnected += 1
                raise Refused(499, "the client went away")
            ended: list[Ended] = ends.result()
        finally:
            ends.cancel()
            leaving.cancel()
            for call in calls:
                self.gateway.drop(call)
            await asyncio.gather(ends, leaving, return_exceptions=True)  # else asyncio tells stderr of them
        for one in ended:
            _check(one)
        request.state.first = time.monotonic()
        return JSONResponse(replies.whole(form, ended))

    async def _stream(self, form: Form, calls: list[Call]) -> Response:
        early: News | Ended | None = await calls[0].fetch(EARLY)
        if isinstance(early, Ended):
            _check(early)
        stream = Stream(form, calls, self.settings.alive)
        return EventStream(stream.events(early), lambda: self._streamed(calls))

    def _streamed(self, calls: list[Call]) -> None:
        """A stream is over: what it has not taken is dropped."""
        if any(call.ended is None for call in calls):
            self.gateway.metrics.disconnected += 1
        for call in calls:
            self.gateway.drop(call)

    # ---- the others

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._model(self.model)]})

    async def _one_model(self, request: Request) -> Response:
        name = request.path_params["name"]
        try:
            strategy_of(Common.model_validate({"model": name}), self.model)
        except ValueError as error:
            raise Refused(404, str(error)[:300], code="model_not_found", param="model") from None
        return JSONResponse(self._model(name))

    def _model(self, name: str) -> dict[str, Any]:
        about = {"max_model_len": self.ready.context, "strategies": strategies(), "summaries": summaries()}
        return {"id": name, "object": "model", "created": self.started, "owned_by": "outthink", **about}

    async def _health(self, request: Request) -> Response:
        is_well = self.gateway.is_alive and not self.gateway.is_draining
        facts = await self.gateway.facts() if is_well else None
        said = "ok" if facts else "draining" if self.gateway.is_draining else "the engine does not answer"
        return JSONResponse({"status": said, "model": self.model}, 200 if facts else 503)

    async def _metrics(self, request: Request) -> Response:
        facts = await self.gateway.facts()
        values = dict(facts.values) if facts else {}
        text = self.gateway.metrics.text(values, len(self.gateway.line.waiting))
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def _openapi(self, request: Request) -> Response:
        return JSONResponse(document())


def _check(ended: Ended) -> None:
    if ended.error:
        raise Refused(ended.status, ended.error, retry_after=5 if ended.status == 503 else None)


def _page(name: str) -> Handler:
    """A page of the package. It may run the script that it holds, and no other."""
    text = (HERE / name).read_text(encoding="utf-8")
    [script] = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = POLICY.format(script=f"'sha256-{digest}'")

    async def page(request: Request) -> Response:
        return HTMLResponse(text, headers={"Content-Security-Policy": policy})

    return page


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return error.response()


async def _no_such_path(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        said = "no such path; /docs lists those that there are"
    else:
        said = f"{request.method} does not go with this path; /docs says what does"
    response = Refused(error.status_code, said).response()
    response.headers.update(error.headers or {})
    return response


class Gate:
    """Around everything: who may come in, one line in the log, and errors of ours in OpenAI's shape."""

    def __init__(self, inner: Starlette, server: Server) -> None:
        self.inner = inner
        self.server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        began, status = time.monotonic(), 0
        metrics = self.server.gateway.metrics

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]
            elif status == 200 and not scope["state"].get("is_begun") and message.get("body"):
                scope["state"]["is_begun"] = True
                if scope["method"] == "POST":
                    metrics.first.add(time.monotonic() - began)
            await send(message)

        scope.setdefault("state", {})
        try:
            scope["state"]["who"] = self._admit(Request(scope))
            await self.inner(scope, receive, watched)
        except Refused as error:
            await error.response()(scope, receive, watched)
        except Exception as error:
            log.error("%s in %s", type(error).__name__, scope["method"])
            if not status:
                await Refused(500, "the server failed on this request").response()(scope, receive, watched)
        finally:
            took = time.monotonic() - began
            metrics.replied(status)
            if scope["method"] == "POST":
                metrics.whole.add(took)
            path = getattr(scope.get("route"), "path", "-")  # ours, never what was sent
            who = scope["state"].get("who", "-")
            log.info("%s %s %d %.3f s %s", scope["method"], path, status, took, who)

    def _admit(self, request: Request) -> str:
        """Who it is. Raises Refused for a wrong key, and for another host's name on a local server."""
        settings = self.server.settings
        host = re.sub(r":\d+$", "", request.headers.get("host", ""))
        if settings.is_local and host not in LOCAL:
            raise Refused(403, "this server is for this machine: call it localhost, or start it with --host")
        given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        holder = settings.keys.holder(given)
        if holder is None and request.url.path not in OPEN:
            raise Refused(401, "a valid API key is needed: Authorization: Bearer ...", code="invalid_api_key")
        return holder or "-"
