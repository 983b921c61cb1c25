"""What a datastore costs: to build, to open, to look things up (wanted: under 50 microseconds on 10 MB).

python -m benchmarks.stores [--megabytes 10] [--model pocket] [--lookups 2000] [--rounds 3]

The corpus is worked problems of the four embedded task families (training split), each a text. Looked up are
the ends of what a branch would have written so far: cuts through test problems, and cuts through training
problems, which are in the datastore word for word. A lookup is the least of its rounds; a draft is the lookup
and the tree that is grown from what it found.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean, median
from types import SimpleNamespace
from typing import Any

from benchmarks.report import Section, Target
from outthink.backends.load import load_tokenizer
from outthink.bench.tasks.countdown import Countdown
from outthink.bench.tasks.paths import Paths
from outthink.bench.tasks.procedures import Procedures
from outthink.bench.tasks.steps import Steps
from outthink.core.drafting import Tip
from outthink.core.types import Sampling
from outthink.speculate import Store
from outthink.speculate._suffixes import build, open_suffixes
from outthink.speculate.store import LONGEST, PLACES

TASKS = (Steps(), Countdown(), Paths(), Procedures())
WANTED = 50.0  # microseconds
INTRODUCTION = """Worked problems of the four families, training split. Looked up are the ends of what a
branch would have written so far: cuts through test problems, and through training problems, which are in it
word for word. A lookup is the least of its rounds; a draft is the lookup and the tree grown from what it
found."""


def problems(split: str) -> Iterator[str]:
    """Worked problems, the families in turn, without end."""
    number = 0
    while True:
        for task in TASKS:
            problem = task.problem(split, number)
            yield f"Q: {problem.prompt}\n{problem.secret.solution}\n"
        number += 1


def corpus(size: int) -> list[str]:
    """Texts of so many bytes in all."""
    texts, total = [], 0
    for text in problems("train"):
        texts.append(text)
        total += len(text)
        if total >= size:
            return texts
    raise AssertionError


def contexts(texts: list[str], encode: Callable[..., list[int]], count: int) -> list[list[int]]:
    """Texts cut somewhere."""
    chance, found = random.Random(0), []
    for i in range(count):
        tokens = encode(texts[i % len(texts)], special=False)
        found.append(tokens[: chance.randrange(8, len(tokens))])
    return found


def micros(call: Callable[[Any], Any], asked: list[Any], rounds: int) -> list[float]:
    """Microseconds of each call, the least of its rounds."""
    best = [float("inf")] * len(asked)
    for _ in range(rounds):
        for i, one in enumerate(asked):
            began = time.perf_counter()
            call(one)
            best[i] = min(best[i], 1e6 * (time.perf_counter() - began))
    return sorted(best)


def row(what: str, found: list[float]) -> list[str]:
    """A row of the table."""
    return [what, *(f"{one:.1f}" for one in (mean(found), median(found), found[int(0.99 * len(found))]))]


def measure(megabytes: float = 10.0, model: str = "pocket", lookups: int = 2000, rounds: int = 3) -> Section:
    """Build one, open it, look things up."""
    tokenizer, vocab = load_tokenizer(model)
    texts = corpus(int(1e6 * megabytes))
    section = Section("A datastore", ["microseconds", "mean", "median", "99 % within"], before=[INTRODUCTION])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.store"
        began = time.perf_counter()
        size = build(path, (tokenizer.encode(text, special=False) for text in texts), tokenizer, vocab)
        built = time.perf_counter() - began
        began = time.perf_counter()
        store = open_suffixes(str(path))
        opened = time.perf_counter() - began
        section.after.append(
            f"{sum(map(len, texts)) / 1e6:.1f} MB in {len(texts)} texts, {store.size - store.texts} tokens: "
            f"built in {built:.1f} s, {size / 1e6:.1f} MB on disk, opened in {1e3 * opened:.0f} ms."
        )
        fresh = [text for text, _ in zip(problems("test"), range(lookups), strict=False)]
        for what, asked in (("that is not in it", fresh), ("that is in it", texts)):
            cuts = contexts(asked, tokenizer.encode, lookups)
            found = micros(lambda one: store.after(one, 2, LONGEST, PLACES, 8), cuts, rounds)
            section.rows.append(row(f"lookup, text {what}", found))
            title = f"store: microseconds of a lookup in {megabytes:g} MB, text {what}"
            section.targets.append(Target(title, mean(found), WANTED, at_least=False))
        cuts = contexts(fresh, tokenizer.encode, lookups)
        found = drafts(path, cuts, tokenizer, vocab, rounds)
        section.rows.append(row("lookup and draft, text that is not in it", found))
    return section


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=float, default=10.0)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--lookups", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(measure(given.megabytes, given.model, given.lookups, given.rounds).text())


def drafts(path: Path, cuts: list[list[int]], tokenizer: Any, vocab: int, rounds: int) -> list[float]:
    """Microseconds of whole drafts."""
    studio: Any = SimpleNamespace(vocab=vocab, tokenizer=tokenizer, ends=frozenset(), shares_noise=True)
    source, greedy = Store(str(path)).open(studio), Sampling(temperature=0.0)
    tips = [Tip(tokens, 1, greedy) for tokens in cuts]
    return micros(lambda tip: source.propose(tip, 8, 64), tips, rounds)


if __name__ == "__main__":
    main()
