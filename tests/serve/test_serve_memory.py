"""A server that has answered many requests holds no more than one that has answered a few."""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import Iterator
from itertools import count

import pytest

from outthink import spec
from outthink.backends.toy import hashed, toy
from outthink.core.types import Sampling
from outthink.engine.engine import Engine
from outthink.serve.engine_side import EngineSide
from outthink.serve.wire import Abort, Ended, Order, Quit, frame, receive

BATCH = 100
PROMPTS = ("ab", "ba", "abc", "cab")
STRATEGIES = ("once", "vote(n=3)", "best_of_n(verifier=certainty(), n=2)", "vote(n=2, inner=sample())")


@pytest.fixture
def side() -> Iterator[tuple[EngineSide, socket.socket]]:
    """An engine's side on a thread, and the socket to it."""
    ours, theirs = socket.socketpair()
    made = EngineSide(Engine(toy(hashed(4, shortest=6, seed=2), 4)), theirs)
    thread = threading.Thread(target=made.serve)
    thread.start()
    yield made, ours
    ours.sendall(frame(Quit()))
    thread.join(20)
    assert not thread.is_alive()
    ours.close()
    theirs.close()


def serve(ours: socket.socket, numbers: Iterator[int]) -> None:
    """A batch of orders, some streamed, every tenth given up at once; all that were not are answered."""
    waiting = set()
    for i in range(BATCH):
        sampling = Sampling(temperature=1.0, max_tokens=8)
        order = Order(
            next(numbers),
            spec.parse(STRATEGIES[i % len(STRATEGIES)]),
            text=PROMPTS[i % len(PROMPTS)],
            seed=i,
            sampling=sampling,
            speculate=spec.parse("trie", "speculate") if i % 3 else None,
            is_streamed=bool(i % 2),
            is_watched=bool(i % 2),
        )
        ours.sendall(frame(order))
        if i % 10 == 9:
            ours.sendall(frame(Abort(order.number)))
        else:
            waiting.add(order.number)
    while waiting:
        for message in receive(ours):
            if isinstance(message, Ended):
                assert not message.error
                waiting.discard(message.number)


def test_nothing_is_kept_of_requests_that_are_over(side: tuple[EngineSide, socket.socket]) -> None:
    made, ours = side
    numbers, seen = count(1), []
    for _ in range(8):
        serve(ours, numbers)
        until = time.monotonic() + 20
        while (made.tickets or made.engine.runs) and time.monotonic() < until:
            time.sleep(0.01)  # what was given up last may end last
        gc.collect()
        kept = made.engine.main.backend._kept  # rows of logits, up to a number: an entry and a tensor each
        seen.append(len(gc.get_objects()) - 2 * len(kept))
    assert not made.tickets and not made.engine.runs
    early, late = min(seen[1:4]), min(seen[4:])  # what is on its way at the moment comes and goes
    assert late - early < BATCH / 2, f"objects after each batch of {BATCH}: {seen}"
