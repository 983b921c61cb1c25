"""The strategies, and how their parameters grow with the budget.

`room` is how many whole texts fit into the budget, and `spread(room)` writes it as width * expand with expand
at most 4. What writes n texts side by side has n = room, so that the cap does not cut them all in their last
step; what goes on until something is found has no other bound than the cap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

ORACLES = tuple(f"steps(noise={noise}, seed=0)" for noise in (0.1, 0.0, 0.2))
FREE = ("likelihood()", "certainty()")
NONE = ""  # no verifier
POTENTIAL = "over='product', floor=0.1, threshold=1.0"  # of steps(): all lines right, or a tenth
HEAD_POTENTIAL = "threshold=1.0"  # of a trained head: the probability that it gives


class At(NamedTuple):
    """What a configuration may depend on."""

    multiple: int  # of one sample
    room: int  # whole texts that fit
    cap: int  # tokens
    step: int  # the longest step of the family, in tokens
    verifier: str

    @property
    def potential(self) -> str:
        return POTENTIAL if self.verifier.startswith("steps(") else HEAD_POTENTIAL


class Spread(NamedTuple):
    """Steps written in one round: `expand` for each of `width`."""

    width: int
    expand: int


def spread(room: int) -> Spread:
    """width * expand as near to `room` as can be, with as large an expand as that allows, at most 4."""
    return max((Spread(room // e, e) for e in range(1, min(4, room) + 1)), key=lambda s: (s[0] * s[1], s[1]))


Config = Callable[[At], str]


def _stepwise(name: str, width: str, share: int = 1, more: str = "") -> Config:
    """A search in rounds of width * expand steps; one that writes `share` times as much gets less room."""

    def config(at: At) -> str:
        found = spread(max(1, at.room // share))
        verifier = f"verifier={at.verifier}, " if at.verifier else ""
        sizes = f"{width}={found.width}, expand={found.expand}, step_tokens={at.step}"
        return f"{name}({verifier}{sizes}{more})"

    return config


def _until_cap(name: str, rounds: str, each: int, more: str = "") -> Config:
    """A search that ends by itself or at the cap: its number of rounds is out of reach."""

    def config(at: At) -> str:
        expand = f", expand={min(4, max(at.room, min(2, at.multiple)))}" if name != "ab_mcts" else ""
        bound = f"{rounds}={each * at.multiple}"
        return f"{name}(verifier={at.verifier}, {bound}{expand}, step_tokens={at.step}{more})"

    return config


def _particles(name: str, more: str = "") -> Config:
    return lambda at: f"{name}(verifier={at.verifier}, n={at.room}, {at.potential}{more})"


def _gibbs(at: At) -> str:
    sweeps = 3 if at.room >= 4 else 1
    n = max(2, at.room // (sweeps + 1))
    return f"particle_gibbs(verifier={at.verifier}, n={n}, sweeps={sweeps}, {at.potential})"


def _metropolis(at: At) -> str:
    moves = min(8, 2 * at.room)  # a move writes half a text anew
    kept = at.potential.removesuffix("threshold=1.0").removesuffix(", ")
    n = max(1, at.room // (1 + moves // 2))
    return f"metropolis(verifier={at.verifier}, n={n}, moves={moves}{', ' + kept if kept else ''})"


def _diverse(at: At) -> str:
    width = at.room if at.room < 2 else at.room - at.room % 2
    return f"diverse_beam(width={width}, groups={max(1, width // 2)})"


def _weight(at: At) -> str:
    """Votes need weights of at least 0; log-probabilities are none."""
    return "exp" if at.verifier in FREE else "value"


def _recorded(at: At) -> str:
    """A verifier under replay: one that needs the model was asked when the pool was recorded."""
    return at.verifier if at.verifier in (*ORACLES, *FREE) else f"recorded({at.verifier!r})"


# Live, with a verifier that judges steps.
SEARCHES: dict[str, Config] = {
    "beam": _stepwise("beam", "width"),
    "dvts": _stepwise("dvts", "trees"),
    "lookahead": _stepwise("lookahead", "width", share=2),
    "rebase": lambda at: f"rebase(verifier={at.verifier}, n={at.room}, step_tokens={at.step})",
    "a_star": _until_cap("a_star", "expansions", 16),
    "a_star, anytime": _until_cap("a_star", "expansions", 16, ", enough=1.0"),
    "tot": lambda at: _until_cap("tot", "expansions", 16, f", order='depth', solutions={16 * at.multiple}")(
        at
    ),
    "mcts": _until_cap("mcts", "simulations", 16),
    "ab_mcts": lambda at: _until_cap("ab_mcts", "simulations", 16, f", wave={min(4, at.room)}")(at),
    "particles": _particles("particles"),
    "entropic_particles": _particles("entropic_particles", ", reset=True"),
    "entropic_particles, unbiased": _particles("entropic_particles"),
    "twisted": lambda at: f"twisted(verifier={at.verifier}, twist={at.verifier}, n={at.room}, threshold=1.0)",
    "particle_gibbs": _gibbs,
    "metropolis": _metropolis,
    "bidirectional": lambda at: (
        f"bidirectional(verifier={at.verifier}, n={max(2, at.room // 2)}, tries={max(1, at.room // 2)}, "
        "floor=0.1)"
    ),
}

# Live, without a verifier.
ALONE: dict[str, Config] = {
    "greedy": lambda at: "greedy()",
    "sample": lambda at: "sample()",
    "race": lambda at: "race(strategies=(greedy(), sample()))",
    "temperatures": lambda at: f"temperatures(n={at.room})",
    "set_cover": lambda at: f"set_cover(n={at.room}, every=16)",
    "fractured": lambda at: f"fractured(n={max(1, 2 * at.room // 3)}, m=1, depths=2, answer=12)",
    "cot_decode": lambda at: f"cot_decode(k={at.room})",
    "diverse_beam": _diverse,
    "lattice": lambda at: f"lattice(n={at.room}, expansions={at.cap}, wave={min(4, at.room)})",
    "phi": _stepwise("phi", "width", share=3),
    "mits": _stepwise("mits", "width"),
}

CLAIMED = ("beam", "dvts", "rebase", "a_star", "mcts", "particles", "entropic_particles", "set_cover")

SIDE_BY_SIDE = ", side by side"  # a name that ends so: only as many samples as searches have texts

# By replay of recorded samples, each as far as the cap pays.
SELECTORS: dict[str, Config] = {
    "vote": lambda at: "vote()",
    "vote" + SIDE_BY_SIDE: lambda at: "vote()",
    "perplexity_consistency": lambda at: "perplexity_consistency()",
    "perplexity_consistency, unpruned": lambda at: "perplexity_consistency(pruned=False)",
    "complexity_vote": lambda at: "complexity_vote()",
    "semantic_entropy": lambda at: f"semantic_entropy(n={max(2, at.multiple // 4)}, rounds=4, prompt='')",
    "adaptive_vote": lambda at: f"adaptive_vote(n={at.multiple})",
    "deep_conf": lambda at: f"deep_conf(n=1000, warmup={max(1, at.multiple // 4)})",
    "short, m=1": lambda at: "short(m=1, k=1000)",
    "short, m=3": lambda at: "short(m=3, k=1000)",
}
JUDGED: dict[str, Config] = {
    "best_of_n": lambda at: f"best_of_n(verifier={_recorded(at)})",
    "weighted_vote": lambda at: f"weighted_vote(verifier={_recorded(at)}, weight={_weight(at)!r})",
    "best_of_majority": lambda at: f"best_of_majority(verifier={_recorded(at)})",
}

PROMPTED = (
    "refine, iad, pdr, dser, infty, sift, hints, budget_force, backward_chain, synthesize, plangen, permute, "
    "batch_prompt, read_twice and semantic_entropy's rounds that are shown the last ones' answers"
)


class Entry(NamedTuple):
    """One line of the sweep: a strategy by its name here, with a verifier or none."""

    strategy: str
    verifier: str
    config: Config


def live(head: str = "") -> list[Entry]:
    """What is run live; `head` is a trained verifier to add."""
    verifiers = [*ORACLES, *([head] if head else [])]
    found = [Entry(name, NONE, config) for name, config in ALONE.items()]
    found += [Entry(name, v, config) for v in verifiers for name, config in SEARCHES.items()]
    return [*found, Entry("beam", "likelihood()", SEARCHES["beam"])]


def replayed(head: str = "") -> list[Entry]:
    """What is replayed from the pool."""
    verifiers = [*ORACLES, *FREE, *([head] if head else [])]
    found = [Entry(name, NONE, config) for name, config in SELECTORS.items()]
    return found + [Entry(name, v, config) for v in verifiers for name, config in JUDGED.items()]
