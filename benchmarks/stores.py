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


def line(what: str, found: list[float], wanted: float = 0.0) -> str:
    """A row of the table."""
    verdict = "" if not wanted else "reached" if mean(found) < wanted else "missed"
    worst = found[int(0.99 * len(found))]
    return f"| {what} | {mean(found):.1f} | {median(found):.1f} | {worst:.1f} | {verdict} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=float, default=10.0)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--lookups", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    tokenizer, vocab = load_tokenizer(given.model)
    texts = corpus(int(1e6 * given.megabytes))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.store"
        began = time.perf_counter()
        size = build(path, (tokenizer.encode(text, special=False) for text in texts), tokenizer, vocab)
        built = time.perf_counter() - began
        began = time.perf_counter()
        store = open_suffixes(str(path))
        opened = time.perf_counter() - began
        tokens = store.size - store.texts
        size_read = sum(map(len, texts)) / 1e6
        print(f"{size_read:.1f} MB in {len(texts)} texts, {tokens} tokens; built in {built:.1f} s,")
        print(f"{size / 1e6:.1f} MB on disk, checked and opened in {1e3 * opened:.0f} ms\n")
        print("| what | mean us | median | 99 % | wanted: mean < 50 |\n|---|---|---|---|---|")
        fresh = [text for text, _ in zip(problems("test"), range(given.lookups), strict=False)]
        for what, asked in (
            ("lookup, text that is not in it", contexts(fresh, tokenizer.encode, given.lookups)),
            ("lookup, text that is in it", contexts(texts, tokenizer.encode, given.lookups)),
        ):
            found = micros(lambda one: store.after(one, 2, LONGEST, PLACES, 8), asked, given.rounds)
            print(line(what, found, WANTED))
        print(line("lookup and draft, text that is not in it", drafts(path, fresh, tokenizer, vocab, given)))


def drafts(
    path: Path, texts: list[str], tokenizer: Any, vocab: int, given: argparse.Namespace
) -> list[float]:
    """Microseconds of whole drafts."""
    studio: Any = SimpleNamespace(vocab=vocab, tokenizer=tokenizer, ends=frozenset(), shares_noise=True)
    source, greedy = Store(str(path)).open(studio), Sampling(temperature=0.0)
    tips = [Tip(tokens, 1, greedy) for tokens in contexts(texts, tokenizer.encode, given.lookups)]
    return micros(lambda tip: source.propose(tip, 8, 64), tips, given.rounds)


if __name__ == "__main__":
    main()
