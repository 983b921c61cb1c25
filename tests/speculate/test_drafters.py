"""What each drafter proposes for texts that are small enough to see why, and what it does with nothing."""

from __future__ import annotations

import itertools
import math
import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from drafters import Asking

from outthink.backends.toy import ALPHABET, hashed, scripted, toy
from outthink.core import rng
from outthink.core.draft import Draft
from outthink.core.drafting import Outcome, Tip
from outthink.core.types import Sampling
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.speculate import Consensus, Copy, Hierarchy, Jacobi, Recycling, Stand, Trie
from outthink.speculate._noise import Noise, informed
from outthink.speculate._rates import Guess, Rates
from outthink.speculate._trees import LEAST, best_nodes, draws, fixed
from outthink.speculate.rules import Block, Recursive, Rejection
from outthink.strategy.once import Once
from outthink.strategy.vote import Vote

VOCAB = len(ALPHABET)
STUDIO: Any = SimpleNamespace(
    vocab=VOCAB,
    tokenizer=None,
    ends=frozenset({0}),
    shares_noise=True,
    chance=lambda tip: rng.Chance(7),
)
GREEDY, SAMPLED = Sampling(temperature=0.0), Sampling(temperature=0.8)


def ids(text: str) -> list[int]:
    return [ALPHABET.index(c) for c in text]


def tip_of(text: str, prompt: int = 1, sampling: Sampling = GREEDY, key: int = 3) -> Tip:
    return Tip(ids(text), prompt, sampling, frozenset({0}), key=key)


def write(source: Any, tip: Tip, text: str, draft: Draft | None = None, tops: Any = None) -> None:
    """The tip has written `text`, of which all but the last token was drafted, if it was."""
    tokens = ids(text)
    tip.grow(tokens)
    path = tuple(range(len(tokens) - 1)) if draft else ()
    drawn = dict(zip((-1, *path), tokens, strict=False))
    source.observe(tip, Outcome(draft, drawn, path, tokens, tops or {}))


def branches(draft: Draft | None) -> set[str]:
    """Every path of a draft that ends in a leaf."""
    assert draft is not None
    texts: list[str] = []
    for token, parent in zip(draft.tokens, draft.parents, strict=True):
        texts.append((texts[parent] if parent >= 0 else "") + ALPHABET[token])
    return {t for i, t in enumerate(texts) if i not in draft.parents}


# ---------------------------------------------------------------------------------------------- proposals


def test_copy_follows_the_longest_match() -> None:
    source = Copy(n=3).open(STUDIO)
    assert branches(source.propose(tip_of("xabcd9abce7abc"), 8, 8)) == {"e7a"}  # the latest of equals
    assert branches(source.propose(tip_of("xabcd9zbce7abc"), 8, 8)) == {"d9z"}  # the longer one
    assert branches(source.propose(tip_of("qabab"), 8, 8)) == {"aba"}  # goes round where it meets its end
    assert source.propose(tip_of("abcdefg"), 8, 8) is None


def test_copy_finds_what_a_search_through_the_whole_text_finds() -> None:
    chance = random.Random(4)
    for _ in range(200):
        tokens = [chance.randrange(3) for _ in range(chance.randrange(2, 30))]
        tip = tip_of("")
        source = Copy(n=1, m=2).open(STUDIO)
        for token in tokens:  # one by one, as it is written
            tip.grow([token])
            source.observe(tip, Outcome(None, {-1: token}, (), [token], {}))
        places = [
            (size, end)
            for size in range(2, len(tokens))
            for end in range(size, len(tokens))
            if tokens[end - size : end] == tokens[-size:]
        ]
        draft = source.propose(tip, 8, 8)
        longest = max((s for s, _ in places), default=0)
        if not places:
            assert draft is None
        else:
            assert draft is not None
            assert draft.tokens[0] in {tokens[end] for s, end in places if s == longest}


def test_copy_goes_on_from_a_text_that_was_read_before() -> None:
    source = Copy(n=2).open(STUDIO)
    first = tip_of("abcd.ab")
    assert branches(source.propose(first, 8, 8)) == {"cd"}
    write(source, first, "e")
    source.end(first)
    again = tip_of("abcd.abe")
    source.propose(again, 8, 8)
    write(source, again, "b")
    write(source, again, "e")
    assert source.propose(again, 8, 8) is not None
    other = tip_of("abcd.ab")  # a sibling, which has not written the e
    assert branches(source.propose(other, 8, 8)) == {"cd"}


def test_trie_retrieves_several_branches_of_all_texts() -> None:
    source = Trie(n=8, depth=2).open(STUDIO)
    source.propose(tip_of("1abcd", prompt=5), 8, 8)
    source.propose(tip_of("2abef", prompt=5), 8, 8)
    assert branches(source.propose(tip_of("3ab"), 8, 8)) == {"cd", "ef"}
    assert source.propose(tip_of("3cc"), 8, 8) is None


def test_a_prompt_that_many_branches_share_is_read_once() -> None:
    source = Trie().open(STUDIO)
    for _ in range(5):
        source.propose(tip_of("abcdabcd", prompt=8), 8, 8)
    assert source.library.places.count == 7


def test_consensus_is_of_siblings_and_of_what_they_wrote() -> None:
    source = Consensus(depth=3).open(STUDIO)
    one, two, other = tip_of("Q"), tip_of("Q"), tip_of("x")
    write(source, one, "abcde")
    assert source.propose(one, 8, 8) is None, "its own text does not count"
    write(source, two, "ab")
    assert branches(source.propose(two, 8, 8)) == {"cde"}
    write(source, other, "ab")
    assert source.propose(other, 8, 8) is None, "another question"


def test_consensus_weighs_the_longer_match() -> None:
    source = Consensus(n=1).open(STUDIO)
    for text in ("1abx", "2aby", "3aby"):
        write(source, tip_of("Q"), text)
    tip = tip_of("Q")
    write(source, tip, "1ab")
    assert branches(source.propose(tip, 8, 8)) == {"x"}


def test_recycling_walks_the_matrix_of_what_was_likely() -> None:
    source = Recycling(k=2, shape=(2, 1)).open(STUDIO)
    tip = tip_of("Q")
    rows = {"Q": "ab", "a": "cd", "b": "ef"}

    def top(letter: str) -> list[tuple[int, float]]:
        return [(t, -1.0) for t in ids(rows[letter])]

    write(source, tip, "a", tops={-1: top("Q")})
    assert source.propose(tip, 8, 8) is None
    wrong = Draft.chain(ids("bx"), by="recycling")  # rows of drafts that were wrong count as well
    tip.grow(ids("d"))
    source.observe(tip, Outcome(wrong, {-1: ids("d")[0]}, (), ids("d"), {-1: top("a"), 0: top("b")}))
    tip.grow(ids("Q"))
    assert branches(source.propose(tip, 8, 8)) == {"ac", "be"}


def test_recycling_stays_below_two_megabytes() -> None:
    for vocab, k in ((1024, 8), (32000, 8)):
        studio = SimpleNamespace(**{**vars(STUDIO), "vocab": vocab})
        assert Recycling(k=k).open(studio).state_bytes == vocab * k * 4 < 2e6


def test_jacobi_takes_what_the_model_said_at_wrong_guesses() -> None:
    source = Jacobi(window=3).open(STUDIO)
    tip = tip_of("ababa")
    draft = source.propose(tip, 8, 8)
    assert branches(draft) == {"bab"}  # what last followed each token
    assert draft is not None
    tip.grow(ids("x"))  # the model says x, then at the guesses y, z, w
    source.observe(tip, Outcome(draft, dict(zip((-1, 0, 1, 2), ids("xyzw"), strict=True)), (), ids("x"), {}))
    assert branches(source.propose(tip, 8, 8)) == {"yzw"}
    assert branches(source.propose(tip, 2, 8)) == {"yz"}


def test_jacobi_converges_to_the_text_whatever_the_temperature() -> None:
    """Each place keeps its noise: after as many passes as the window is long the guesses are the text."""
    for temperature in (0.0, 1.0):
        sampling = Sampling(temperature=temperature, max_tokens=24, ignore_eos=True)
        table = {c: {d: 0.6, "a": 0.4} for c, d in zip("abcdef", "bcdefa", strict=True)}
        request = Request(Once(), "a", sampling=sampling, speculate=Jacobi(window=6))
        receipt = Engine(toy(scripted(table, 7), 7)).run(request).receipt
        assert receipt is not None and receipt.drawn_per_row > 1.4


def top_of(**likely: float) -> list[tuple[int, float]]:
    import math

    return [(ALPHABET.index(c), math.log(p)) for c, p in likely.items()]


def test_stand_draws_from_the_longest_context_known() -> None:
    source = Stand(order=2, k=2, n=2, shape="chain").open(STUDIO)
    tip = tip_of("ab")
    write(source, tip, "c", tops={-1: top_of(c=0.6, d=0.4)})
    write(source, tip, "e", tops={-1: top_of(e=0.9, f=0.1)})
    tip.grow(ids("xb"))
    assert branches(source.propose(tip, 8, 8)) == {"ce"}  # b is known alone, then bc
    tip.grow(ids("ab"))
    write(source, tip, "d", tops={-1: top_of(d=0.99, c=0.01)})
    tip.grow(ids("ab"))
    assert branches(source.propose(tip, 8, 1)) == {"d"}  # two rows after ab, averaged


def test_stand_uses_the_noise_of_the_target_only_where_it_may() -> None:
    likely = top_of(a=0.4, b=0.3, c=0.3)
    won: dict[bool, int] = {}
    for shares in (True, False):
        source = Stand(n=1, k=3).open(SimpleNamespace(**{**vars(STUDIO), "shares_noise": shares}))
        won[shares] = 0
        for key in range(300):
            tip = tip_of("Q", sampling=Sampling(temperature=1.0), key=key)
            source._hear(tuple(ids("Q")), likely)
            draft = source.propose(tip, 1, 1)
            target = max(likely, key=lambda entry: entry[1] + rng.gumbel(key, 1, entry[0]))[0]
            assert draft is not None and bool(draft.dists) is not shares
            won[shares] += draft.tokens[0] == target
    assert won[True] > 290 and won[False] < 180


def test_hierarchy_asks_the_most_local_first_and_fills_up() -> None:
    drafter = Hierarchy((Copy(n=2), Trie(n=4, depth=2)), n=4)
    source = drafter.open(STUDIO)
    source.propose(tip_of("1abyz", prompt=5), 8, 8)
    tip = tip_of("Qabcdxab")
    draft = source.propose(tip, 8, 8)
    assert draft is not None and branches(draft) == {"cd", "yz"} and draft.by == "hierarchy"
    assert draft.tokens[:2] == tuple(ids("cd"))
    copied: Any
    retrieved: Any
    copied, retrieved = source.sources
    before = [list(source.rates.tries) for source in (copied, retrieved)]
    hits = sum(retrieved.rates.hits)
    write(source, tip, "yzw", draft.keep([2, 3]))
    tried = [
        sum(source.rates.tries) - sum(was) for source, was in zip((copied, retrieved), before, strict=True)
    ]
    assert tried == [1, 3], (
        "c was wrong and says nothing of d; y and z were right, and c wrong for the trie too"
    )
    assert sum(retrieved.rates.hits) == hits + 2


def test_hierarchy_is_one_source_where_one_answers() -> None:
    draft = Hierarchy((Copy(), Trie())).open(STUDIO).propose(tip_of("abcab"), 8, 8)
    assert draft is not None and draft.by in ("copy", "hierarchy")


# --------------------------------------------------------------------------------------------------- trees


def tree_of(seed: int) -> Any:
    """A random tree of guesses: (token, p) below each prefix."""

    def expand(prefix: tuple[int, ...]) -> list[Any]:
        chance = random.Random(str((seed, prefix)))
        ps = sorted((chance.uniform(0.1, 0.6) for _ in range(3)), reverse=True)
        total = sum(ps)
        return [(t, p / total * 0.95, 0, (*prefix, t)) for t, p in enumerate(ps)]

    return expand


def expected(draft: Draft) -> float:
    """The expected number of accepted tokens."""
    paths: list[float] = []
    for conf, parent in zip(draft.conf, draft.parents, strict=True):
        paths.append(conf * (paths[parent] if parent >= 0 else 1.0))
    return sum(paths)


@pytest.mark.parametrize("seed", range(6))
def test_best_nodes_is_the_best_of_all_trees(seed: int) -> None:
    """Against every tree of 4 nodes, 3 deep."""
    expand = tree_of(seed)
    prefixes = [p for n in (1, 2, 3) for p in itertools.product(range(3), repeat=n)]
    likely: dict[tuple[int, ...], float] = {(): 1.0}
    for prefix in prefixes:
        likely[prefix] = likely[prefix[:-1]] * expand(prefix[:-1])[prefix[-1]][1]
    best = max(
        sum(likely[p] for p in chosen)
        for chosen in itertools.combinations(prefixes, 4)
        if all(len(p) == 1 or p[:-1] in chosen for p in chosen)
    )
    guess = best_nodes(expand, (), 3, 4, "x")
    assert guess is not None and len(guess.draft.tokens) == 4
    assert expected(guess.draft) == pytest.approx(best)
    shaped = fixed((2, 1), expand, (), 4, "x")
    assert shaped is not None and expected(shaped.draft) <= best + 1e-12


def test_best_nodes_leaves_out_what_is_hardly_accepted() -> None:
    guess = best_nodes(lambda s: [(1, 0.2, 0, s), (2, LEAST / 2, 0, s)], (), 9, 9, "x")
    assert guess is not None and guess.draft.tokens == (1, 1)
    alone = best_nodes(lambda s: [(1, LEAST / 2, 0, s)], (), 9, 9, "x")
    assert alone is not None and alone.draft.tokens == (1,), "one guess stays: else nothing is learned"


def test_draws_say_what_they_were_drawn_from() -> None:
    import math

    likely = [(5, 0.5, 0, None), (6, 0.3, 0, None), (7, 0.2, 0, None)]
    counts: dict[tuple[int, ...], int] = {}
    for key in range(4000):
        guess = draws((2,), lambda s: likely, None, 2, "x", rng.Chance(key), 0)
        assert guess is not None
        first, second = guess.draft.tokens
        assert math.exp(guess.draft.dists[0][first]) == pytest.approx({5: 0.5, 6: 0.3, 7: 0.2}[first])
        left = {t: p for t, p, *_ in likely if t != first}
        assert math.exp(guess.draft.dists[1][second]) == pytest.approx(left[second] / sum(left.values()))
        assert first not in guess.draft.dists[1]
        counts[first, second] = counts.get((first, second), 0) + 1
    assert counts[5, 6] / 4000 == pytest.approx(0.5 * 0.6, abs=0.03)
    assert counts[7, 5] / 4000 == pytest.approx(0.2 * 0.625, abs=0.03)


# ---------------------------------------------------------------------------------------------- confidences


def test_rates_are_learned_only_where_the_parent_was_written() -> None:
    rates = Rates([0.5, 0.5, 0.5], weight=2.0)
    draft = Draft((4, 5, 6), (-1, 0, 1))
    outcome = Outcome(draft, {-1: 4, 0: 9, 1: 6}, (0,), [4, 9], {})
    rates.settle(outcome, Guess(draft, [0, 1, 2]))
    assert rates.mean == [2 / 3, 1 / 3, 0.5]


def test_a_draft_that_was_cut_is_known_again() -> None:
    rates = Rates([0.5, 0.5, 0.5], weight=2.0)
    draft = Draft((4, 5, 6), (-1, -1, 1))
    kept = draft.keep([1, 2])
    rates.settle(Outcome(kept, {-1: 5, 0: 6, 1: 0}, (0, 1), [5, 6, 0], {}), Guess(draft, [0, 1, 2]))
    assert rates.mean == [0.5, 2 / 3, 2 / 3]


def test_knowing_the_noise_is_worth_what_it_says() -> None:
    """Where the probabilities are exact, confidences are: told p, the winner is as likely as it says."""
    true = {1: 0.5, 2: 0.2, 3: 0.2, 4: 0.1}
    said, right = 0.0, 0
    for key in range(4000):
        noise = Noise(key)
        token, p = informed([(1, 0.5)], noise, 9)[0]
        said += p
        right += min(true, key=lambda t: noise(9, t) / true[t]) == token
    assert said / 4000 == pytest.approx(right / 4000, abs=0.015)


@pytest.mark.parametrize("drafter", [Copy(), Trie(), Stand(), Recycling(), Jacobi()], ids=repr)
def test_confidences_are_honest(drafter: Any) -> None:
    """Over a run: what was said to be accepted, and what was."""
    from drafters import Asking

    said: list[float] = []
    source = None

    def ask(tip: Any, depth: int, nodes: int) -> Any:
        return source.propose(tip, depth, nodes)

    table = {c: {d: 0.8, "a": 0.2} for c, d in zip("abcdef", "bcdefa", strict=True)}
    one = Engine(toy(scripted(table, 7), 7, context=400))
    sampling = Sampling(temperature=1.0, max_tokens=300, ignore_eos=True)
    watched = Asking(ask, tops=getattr(drafter, "k", 0))
    came: list[bool] = []

    class Both:
        def open(self, studio: Any) -> Any:
            nonlocal source
            source = drafter.open(studio)
            listening = watched.open(studio)
            hear = listening.observe

            def observe(tip: Any, outcome: Outcome) -> None:
                if outcome.draft is not None:
                    on = {-1, *outcome.path}
                    for node, parent in enumerate(outcome.draft.parents):
                        if parent in on and parent in outcome.drawn:
                            said.append(outcome.draft.conf[node])
                            came.append(outcome.drawn[parent] == outcome.draft.tokens[node])
                source.observe(tip, outcome)
                hear(tip, outcome)

            listening.observe, listening.end = observe, source.end  # type: ignore[method-assign]
            return listening

    one.run(Request(Vote(n=4), "a", sampling=sampling, speculate=Both()))
    assert len(said) > 100
    assert sum(said) / len(said) == pytest.approx(sum(came) / len(came), abs=0.08)


# ------------------------------------------------------------------------------------------------ bad drafts


class Bad:
    """A drafter that does one thing wrong, always."""

    def __init__(self, wrong: str) -> None:
        self.wrong = wrong

    def open(self, studio: Any) -> Any:
        return self

    name, tops = "bad", 0

    def propose(self, tip: Any, depth: int, nodes: int) -> Any:
        if self.wrong == "raises":
            raise KeyError("lost")
        return {
            "range": Draft.chain([99]),
            "negative": Draft.chain([-1]),
            "many": Draft.chain([1] * 600),
            "type": [1, 2],
            "float": Draft.chain([1.0]),  # type: ignore[list-item]
            "text": Draft.chain(["a"]),  # type: ignore[list-item]
            "conf": Draft.chain([1], [float("nan")]),
            "word": Draft.chain([1], ["x"]),  # type: ignore[list-item]
            "bool": Draft.chain([True]),
            "by": Draft.chain([1], by=7),  # type: ignore[arg-type]
            "by a list": Draft.chain([1], by=[7]),  # type: ignore[arg-type]
            "numpy": Draft.chain([np.int64(1)]),
        }.get(self.wrong)

    def cycle(self, tip: Any, depth: int, nodes: int) -> Any:
        return Draft((1, 2), (1, 0))

    def observe(self, tip: Any, outcome: Any) -> None:
        if self.wrong == "observe":
            raise KeyError("lost")

    def end(self, tip: Any) -> None:
        if self.wrong == "end":
            raise KeyError("lost")


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ("raises", "KeyError: 'lost'"),
        ("range", "token 99; tokens are whole numbers (int), the vocabulary has 4"),
        ("negative", "token -1"),
        ("many", "600 tokens where"),
        ("type", "with list, not a Draft"),
        ("float", "token 1.0"),
        ("text", "token 'a'"),
        ("conf", "no probability"),
        ("word", "no probability"),
        ("bool", "token True"),
        ("by", "no name"),
        ("by a list", "no name"),
        ("numpy", "tokens are whole numbers (int)"),
        ("cycle", "parents come first"),
        ("observe", "KeyError: 'lost'"),
        ("end", "KeyError: 'lost'"),
    ],
)
def test_a_bad_drafter_costs_its_drafts_and_is_named_once(wrong: str, word: str) -> None:
    sampling = Sampling(temperature=1.0, max_tokens=12, ignore_eos=True)
    plain = Engine(toy(hashed(4))).run(Request(Vote(n=3), "abc", sampling=sampling))
    bad = Bad(wrong)
    if wrong == "cycle":
        bad.propose = bad.cycle  # type: ignore[method-assign]
    one = Engine(toy(hashed(4)))
    answer = one.run(Request(Vote(n=3), "abc", sampling=sampling, speculate=bad))  # type: ignore[arg-type]
    assert answer.text == plain.text and answer.receipt is not None and plain.receipt is not None
    assert answer.receipt.logical == plain.receipt.logical
    said = [d for d in answer.receipt.degradations if "drafter" in d.what]
    assert len(said) == 1 and word in said[0].why and "bad" in said[0].what
    one.main.tree.check()
    assert not any(node.cursors for node in one.main.tree.nodes())


@pytest.mark.parametrize("rule", [Rejection(), Recursive(), Block()], ids=repr)
@pytest.mark.parametrize(
    "dist",
    [(0.0, 0.0), "abcd", (math.nan,) * 4, (-math.inf,) * 4, (0.0,) * 4, {1: -0.5}, {99: 0.0}, {0: 0.0}],
    ids=repr,
)
def test_a_draft_from_no_distribution_is_not_weighed(dist: Any, rule: Any) -> None:
    """It would stop the run, or part the distributions: of another size, of other words, of no sum."""
    asking = Asking(lambda tip, depth, nodes: Draft((1,), (-1,), (), (dist,), "test"))
    one = Engine(toy(hashed(4)))
    sampling = Sampling(temperature=1.0, max_tokens=6, ignore_eos=True)
    answer = one.run(Request(Vote(n=3), "abc", sampling=sampling, speculate=asking, accept=rule))
    assert answer.receipt is not None
    [said] = answer.receipt.degradations
    assert "dists[0]" in said.why and answer.receipt.speculation["test"].checked == 0


class Sleepy(Bad):
    """A drafter that cannot say how long it sleeps."""

    def wakes(self, branches: int, rows: int) -> bool:
        return False

    def naps(self) -> int:
        if self.wrong == "naps":
            raise KeyError("lost")
        return 99

    def slept(self, count: int) -> None:
        if self.wrong == "slept":
            raise KeyError("lost")


@pytest.mark.parametrize("wrong", ["naps", "slept"])
def test_a_drafter_that_sleeps_badly_is_named_once(wrong: str) -> None:
    sampling = Sampling(temperature=1.0, max_tokens=12, ignore_eos=True)
    plain = Engine(toy(hashed(4))).run(Request(Vote(n=3), "abc", sampling=sampling))
    sleepy: Any = Sleepy(wrong)
    answer = Engine(toy(hashed(4))).run(Request(Vote(n=3), "abc", sampling=sampling, speculate=sleepy))
    assert answer.text == plain.text and answer.receipt is not None
    assert [note.why for note in answer.receipt.degradations] == [
        "went on without its draft: KeyError: 'lost'"
    ]
