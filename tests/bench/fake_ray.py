"""As much of Ray as `cluster` uses, in this process and one call at a time; workers die as a script says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar


class RayActorError(Exception):
    """The actor is dead."""


@dataclass(eq=False)
class Actor:
    """An actor; a call runs when somebody waits for it."""

    ray: FakeRay
    made: Any
    number: int
    is_dead: bool = False

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *args: Ref(self, name, args))


@dataclass(eq=False)
class Ref:
    """A call, and what came of it."""

    actor: Actor
    name: str
    args: tuple[Any, ...]
    result: Any = None

    def run(self) -> None:
        if not self.actor.is_dead:
            self.actor.is_dead = self.actor.ray.dies(self)
        if self.actor.is_dead:
            self.result = RayActorError(f"worker {self.actor.number} is dead")
        else:
            self.result = getattr(self.actor.made, self.name)(*self.args)


@dataclass
class FakeRay:
    """A cluster of one node. `dies` says whether the worker dies as a call is made."""

    cpus: float = 2.0
    gpus: float = 0.0
    dies: Callable[[Ref], bool] = lambda ref: False
    actors: list[Actor] = field(default_factory=list)
    asked: list[Ref] = field(default_factory=list)
    is_up: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    exceptions: ClassVar[Any] = SimpleNamespace(RayActorError=RayActorError)

    def is_initialized(self) -> bool:
        return self.is_up

    def init(self, **given: Any) -> None:
        self.is_up = True

    def shutdown(self) -> None:
        self.is_up = False

    def nodes(self) -> list[dict[str, Any]]:
        alive = {"CPU": self.cpus, "GPU": self.gpus, "memory": 1e9}
        return [
            {"Alive": True, "Resources": alive},
            {"Alive": False, "Resources": {"CPU": 64.0}},
        ]

    def remote(self, kind: type) -> Any:
        def make(*args: Any) -> Actor:
            self.actors.append(Actor(self, kind(*args), len(self.actors)))
            return self.actors[-1]

        def options(**given: Any) -> Any:
            self.options = given
            return SimpleNamespace(remote=make)

        return SimpleNamespace(options=options)

    def wait(self, refs: list[Ref], num_returns: int, timeout: float) -> tuple[list[Ref], list[Ref]]:
        """The last one first: no order is promised."""
        ref = refs[-1]
        self.asked.append(ref)
        ref.run()
        return [ref], refs[:-1]

    def get(self, ref: Ref) -> Any:
        if isinstance(ref.result, Exception):
            raise ref.result
        return ref.result

    def kill(self, actor: Actor) -> None:
        actor.is_dead = True
