"""The token tree of a run as a picture: what branches share is drawn once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.text import Text
from rich.tree import Tree

from outthink.cli.output import safe
from outthink.core.types import Answer
from outthink.engine.trace import Trace
from outthink.text import equivalent, final_answer

if TYPE_CHECKING:
    from outthink.core.branch import Branch
    from outthink.engine.request import Run

Path = tuple[int, ...]


@dataclass(slots=True)
class Leaf:
    """What is known of one branch when it has ended."""

    path: Path
    tokens: list[int]
    fate: str = "done"
    score: float | None = None


class Recorder(Trace):
    """Keeps what every branch of a run wrote, how it ended, and how it was scored."""

    def __init__(self) -> None:
        self.leaves: dict[Path, Leaf] = {}
        self.decode: Callable[[Sequence[int]], str] = str
        self.prompt = ""

    def started(self, run: Run) -> None:
        self.prompt = run.problem.prompt

    def wrote(self, branch: Branch, tokens: Sequence[int]) -> None:
        """Append to what this path has; a path's first tokens stand on what it was forked from."""
        leaf = self.leaves.get(branch.path)
        if leaf is None:
            self.decode = branch.place.tokenizer.decode
            self.leaves[branch.path] = Leaf(branch.path, list(branch.tokens))
        else:
            leaf.tokens.extend(tokens)

    def closed(self, branch: Branch, why: str) -> None:
        leaf = self.leaves.get(branch.path)
        if leaf is not None:
            leaf.tokens, leaf.fate = list(branch.tokens), why

    def ended(self, run: Run, answer: Answer) -> None:
        """Branches are gone from the answers by now: texts tell whose score is whose."""
        scores = {one.text: one.score for one in (*answer.others, answer)}
        for leaf in self.leaves.values():
            leaf.score = scores.get(self.decode(leaf.tokens))

    def finished(self) -> list[Leaf]:
        """Every branch that wrote, by path."""
        return [self.leaves[path] for path in sorted(self.leaves)]


@dataclass(slots=True)
class Knot:
    """A stretch of tokens that all branches below it share; the branches that end at its end."""

    tokens: list[int]
    below: list[Knot] = field(default_factory=list)
    ending: list[Leaf] = field(default_factory=list)


def merge(leaves: Sequence[Leaf], depth: int = 0) -> list[Knot]:
    """The branches' tokens from `depth` on as a tree in which siblings differ in their first token."""
    by_first: dict[int, list[Leaf]] = {}
    for leaf in leaves:
        if len(leaf.tokens) > depth:
            by_first.setdefault(leaf.tokens[depth], []).append(leaf)
    return [_knot(group, depth) for group in by_first.values()]


def _knot(group: list[Leaf], depth: int) -> Knot:
    """The longest stretch that a group shares, and what follows it."""
    shortest = min(len(leaf.tokens) for leaf in group)
    first = group[0].tokens
    upto = depth + 1
    while upto < shortest and all(leaf.tokens[upto] == first[upto] for leaf in group):
        upto += 1
    ending = [leaf for leaf in group if len(leaf.tokens) == upto]
    return Knot(first[depth:upto], merge(group, upto), ending)


def draw(record: Recorder, answer: Answer) -> Tree:
    """The tree of a run, the prompt at its root."""
    tree = Tree(Text(safe(record.prompt.strip()), "bold"), guide_style="dim")
    for knot in merge(record.finished()):
        _hang(tree, knot, record.decode, answer)
    return tree


def _hang(tree: Tree, knot: Knot, decode: Callable[[Sequence[int]], str], answer: Answer) -> None:
    """Draw a stretch and all below it."""
    text = safe(decode(knot.tokens)).strip("\n") or "⏎"
    if knot.below and not knot.ending:
        label = Text.assemble((text, "cyan"), (f"   {len(knot.tokens)} tokens shared", "dim"))
    else:
        label = Text(text)
    for leaf in knot.ending:
        label.append("\n").append_text(_fate(leaf, decode, answer))
    node = tree.add(label)
    for below in knot.below:
        _hang(node, below, decode, answer)


def _fate(leaf: Leaf, decode: Callable[[Sequence[int]], str], answer: Answer) -> Text:
    """How a branch ended: its path, length, answer, score, and whether it won."""
    text = decode(leaf.tokens)
    final = final_answer(text).value
    sign, style = _verdict(leaf, text, final, answer)
    path = ".".join(map(str, leaf.path)) or "root"
    score = "" if leaf.score is None else f", score {leaf.score:.4g}"
    return Text(
        f"{sign}  branch {path}: {len(leaf.tokens)} tokens, answer {safe(final or 'none')}{score}", style
    )


def _verdict(leaf: Leaf, text: str, final: str | None, answer: Answer) -> tuple[str, str]:
    """A branch won if the answer is its text, agrees if it ends alike."""
    if leaf.fate == "killed":
        return "✗ killed", "red"
    if text == answer.text:
        return "★ won", "bold green"
    return (
        ("✓ agrees", "green")
        if final is not None and equivalent(final, answer.final)
        else ("· differs", "dim")
    )


def tree_json(record: Recorder) -> list[dict[str, object]]:
    """The branches of a run as plain data."""
    return [
        {
            "path": list(leaf.path),
            "tokens": len(leaf.tokens),
            "text": record.decode(leaf.tokens),
            "fate": leaf.fate,
            "score": leaf.score,
        }
        for leaf in record.finished()
    ]
