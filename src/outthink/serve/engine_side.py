"""The engine's process: orders come in by a socket, news and answers go out; nothing here waits for HTTP.

while not told to quit:
    take messages       (a thread reads them, and nudges the engine out of its sleep)
    one turn, or sleep
    send who has ended; every few milliseconds, what is new of the others
What the socket does not take yet stays here: bytes of one batch, and news that grow together.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

from outthink.core.errors import BadInput, Deadlock, OutthinkError
from outthink.core.problem import Problem
from outthink.core.types import Answer
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.engine.speculator import MOST_NODES
from outthink.serve.choices import Choices
from outthink.serve.telling import Telling, Ticket
from outthink.serve.wire import (
    Abort,
    Ask,
    Ended,
    Facts,
    Failed,
    Finish,
    Order,
    Piece,
    Quit,
    Ready,
    frame,
    receive,
)

FLUSH = 0.01  # seconds between two deliveries of news
WEIGH = 16  # turns between two looks at how much cache each request holds


def work(end: socket.socket, load: Callable[[], Engine]) -> None:
    """Load a model, say so, and serve until told to quit or the other end is gone."""
    try:
        engine = load()
    except (OutthinkError, ValueError, OSError) as error:
        end.sendall(frame(Failed(str(error))))
        return
    gc.collect()
    gc.freeze()  # what is loaded stays: to look through it once more would hold every stream up for 0.1 s
    place = engine.main
    end.sendall(frame(Ready(place.name, place.context, place.vocab)))
    EngineSide(engine, end).serve()


class EngineSide:
    """Runs orders on an engine."""

    def __init__(self, engine: Engine, end: socket.socket) -> None:
        self.engine = engine
        self.end = end
        self.telling = Telling()
        engine.trace = self.telling
        self.arrived: deque[Any] = deque()
        self.tickets: dict[int, Ticket] = {}
        self.is_over = False
        self._bytes = memoryview(b"")  # on its way out
        self._urgent: list[Any] = []  # to go out next
        self._flushed = 0.0
        self._turns = 0

    def serve(self) -> None:
        """Until told to quit."""
        threading.Thread(target=self._read, daemon=True).start()
        while not self.is_over:
            while self.arrived:
                self._take(self.arrived.popleft())
            if self.tickets:
                self._cap()
                self.engine.turn()
                self._end_runs()
            self._flush()
            if not self.tickets and not self.arrived:
                self.engine.rest(FLUSH if self._bytes or self._urgent else 1.0)
        self.engine.close()

    def _read(self) -> None:
        """A thread that mostly sleeps: messages into the deque."""
        message: Any = None
        while not isinstance(message, Quit):
            try:
                message = receive(self.end) or Quit()
            except OSError:
                message = Quit()
            self.arrived.append(message)
            self.engine.nudge()

    # ---- what comes in

    def _take(self, message: Any) -> None:
        if isinstance(message, Order):
            self._start(message)
        elif isinstance(message, Abort):
            ticket = self.tickets.pop(message.number, None)
            if ticket is not None and ticket.run is not None:
                self.engine.abort(ticket.run)
        elif isinstance(message, Finish):
            ticket = self.tickets.get(message.number)
            if ticket is not None and ticket.run is not None:
                self.engine.stop(ticket.run, message.what)
        elif isinstance(message, Ask):
            self._urgent.append(Facts(message.number, self._facts()))
        elif isinstance(message, Quit):
            self.is_over = True

    def _start(self, order: Order) -> None:
        ticket = Ticket(order)
        try:
            tokens = self._prompt(order)
            ticket.run = self.engine.start(self._request(ticket, tokens))
        except (OutthinkError, ValueError) as error:
            self._urgent.append(Ended(order.number, error=str(error)))
            return
        except Exception as error:  # one order's trouble is not the others'
            self._urgent.append(Ended(order.number, error=self._log(error), status=500))
            return
        ticket.news.began = len(tokens)
        if order.is_echoed:
            ticket.echo = order.text or self.engine.main.tokenizer.decode(tokens)
            if order.prompt_logprobs is None:
                ticket.news.echo = Piece(ticket.echo)
        self.tickets[order.number] = ticket

    def _prompt(self, order: Order) -> tuple[int, ...]:
        tokenizer = self.engine.main.tokenizer
        if order.tokens:
            return order.tokens
        if order.messages and order.is_continued:
            return tuple(tokenizer.resume(order.messages))
        if order.messages:
            return tuple(tokenizer.chat(order.messages, is_reply_due=order.is_reply_due))
        found = tuple(tokenizer.encode(order.text))
        if not found:
            raise BadInput("the prompt is empty")
        return found

    def _request(self, ticket: Ticket, tokens: tuple[int, ...]) -> Request:
        order = ticket.order
        bad = next((t for t, _ in order.sampling.logit_bias if t >= self.engine.main.vocab), None)
        if bad is not None:
            raise BadInput(f"logit_bias: token {bad} is outside the vocabulary of {self.engine.main.vocab}")
        asked = next((m["content"] for m in reversed(order.messages) if m["role"] == "user"), order.text)
        return Request(
            Choices(order.strategy, ticket),
            Problem(asked),
            order.budget,
            order.seed,
            order.sampling,
            tag=ticket,
            config=repr(order.strategy),
            tokens=tokens,
            speculate=order.speculate,
            priority=order.priority,
            share=order.share,
            salt=order.share,  # a clock tells what is in the cache: nobody else's business
            max_branches=order.limits.branches,
        )

    # ---- what goes out

    def _end_runs(self) -> None:
        self._turns += 1
        if self._turns % WEIGH == 0:
            self._weigh()
        for number, ticket in list(self.tickets.items()):
            run = ticket.run
            if run is not None and run.is_done:
                del self.tickets[number]
                self._urgent.append(ticket.collect())
                self._urgent.append(self._ended(ticket, run.answer, run.error))

    def _ended(self, ticket: Ticket, answer: Answer | None, error: BaseException | None) -> Ended:
        number = ticket.order.number
        if answer is None or answer.receipt is None:
            is_theirs = isinstance(error, OutthinkError) and not isinstance(error, Deadlock)
            said = str(error) if is_theirs else self._log(error)
            return Ended(number, error=said, status=400 if is_theirs else 500)
        receipt = answer.receipt
        choices = ticket.choices_of(answer)
        kept = sum(told.answer.tokens for told in ticket.choices if told.answer) or answer.tokens
        cost = receipt.logical
        return Ended(
            number,
            choices,
            receipt.as_dict(),
            ticket.prompt,
            ticket.echo,
            cost.read,
            cost.written,
            min(kept, cost.written),
        )

    def _log(self, error: BaseException | None) -> str:
        """Say on stderr where an error came from; not what it says, which may quote a prompt."""
        where = traceback.extract_tb(error.__traceback__)[-1:] if error is not None else []
        place = f" at {os.path.basename(where[0].filename)}:{where[0].lineno}" if where else ""
        print(f"outthink: {type(error).__name__}{place}", file=sys.stderr, flush=True)
        return "the engine failed on this request; it is not your fault, and the server's log says where"

    def _cap(self) -> None:
        """End requests whose next pass could bring them above what one may write."""
        for ticket in self.tickets.values():
            most, run = ticket.order.limits.written, ticket.run
            if run is None:
                continue
            step = 1 if run.speculator is None else MOST_NODES + 1  # tokens that a pass may bring a branch
            if ticket.written + step * len(ticket.live) > most:
                self.engine.stop(run, f"written={most} in run")

    def _weigh(self) -> None:
        """End requests that hold more cache than one may."""
        slots = self.engine.main.tree.slots.capacity
        for ticket in self.tickets.values():
            run, most = ticket.run, ticket.order.limits.cache * slots
            if run is None or run.scope.logical.read + ticket.written <= most:
                continue
            nodes = {}
            for branch in ticket.live:
                at = None if branch.is_closed else branch.cursor.node
                while at is not None and at not in nodes:
                    nodes[at] = at.computed
                    at = at.parent
            if sum(nodes.values()) > most:
                self.engine.stop(run, f"cache={most:.0f} slots in run")

    def _flush(self) -> None:
        """Send what can be sent without waiting."""
        if self._bytes and not self._send():
            return
        now = time.perf_counter()
        messages = [m for m in self._urgent if m is not None]
        if messages or now - self._flushed >= FLUSH:
            self._flushed = now
            news = [n for ticket in self.tickets.values() if (n := ticket.collect()) is not None]
            messages = news + messages
        self._urgent.clear()
        if messages:
            self._bytes = memoryview(frame(messages))
            self._send()

    def _send(self) -> bool:
        """Give the socket what it takes; whether all is gone."""
        try:
            while self._bytes:
                self._bytes = self._bytes[self.end.send(self._bytes, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            return False
        except OSError:
            self.is_over = True  # the other end is gone
        return not self._bytes

    def _facts(self) -> dict[str, float]:
        tree = self.engine.main.tree
        live = sum(run.live for run in self.engine.runs.values())
        return {
            "running": len(self.tickets),
            "live_branches": live,
            "cache_used_slots": tree.filled,
            "cache_slots": tree.slots.capacity,
            **self.telling.totals,
        }
