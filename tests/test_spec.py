"""The configuration language: what is read, what is refused, and that showing is the inverse of reading."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outthink import spec
from outthink.core.errors import BadInput, UnknownName
from outthink.core.protocols import Strategy, Verifier
from outthink.core.types import Sampling
from outthink.spec import families, language


@dataclass(frozen=True)
class Plain:
    """Write once.

    Wang et al., arXiv 2203.11171.
    """


@dataclass(frozen=True)
class Sharp:
    """Judge."""

    noise: float = 0.0
    kind: str = "mean"

    def __post_init__(self) -> None:
        if not 0 <= self.noise <= 1:
            raise ValueError(f"noise={self.noise}: give a probability")


@dataclass(frozen=True)
class PickOne:
    """Sample n, keep one."""

    n: int
    verifier: Verifier = field(default_factory=Sharp)
    inner: Strategy | None = None
    verifiers: tuple[Verifier, ...] = ()
    sampling: Sampling | None = None
    share: bool = False
    weights: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n={self.n}: give at least 1")


PARTS = {"strategy": {"plain": Plain, "pick_one": PickOne}, "verify": {"sharp": Sharp}}


@pytest.fixture(autouse=True)
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two small families in place of the real ones."""
    for family, known in PARTS.items():
        for name, kind in known.items():
            module = ModuleType(f"outthink.{family}.{name}")
            setattr(module, kind.__name__, kind)
            monkeypatch.setattr(kind, "__module__", module.__name__)
            monkeypatch.setitem(sys.modules, module.__name__, module)
    for place in (families, language):
        monkeypatch.setattr(place, "names", lambda family: tuple(sorted(PARTS.get(family, ()))))


@pytest.mark.parametrize(
    "text, part",
    [
        ("plain", Plain()),
        ("  plain()  ", Plain()),
        ("pick_one(8)", PickOne(8)),
        ("pick_one(n=8, verifier=sharp(noise=0.25))", PickOne(8, Sharp(0.25))),
        ("pick_one(2, inner=pick_one(n=3, inner=plain))", PickOne(2, inner=PickOne(3, inner=Plain()))),
        ("pick_one(2, verifiers=[sharp, sharp(0.5)])", PickOne(2, verifiers=(Sharp(), Sharp(0.5)))),
        ("pick_one(2, sampling=sampling(temperature=1))", PickOne(2, sampling=Sampling(temperature=1.0))),
        (
            "pick_one(2, inner=None, share=True, weights=(1.0, -2.0))",
            PickOne(2, share=True, weights=(1.0, -2.0)),
        ),
    ],
)
def test_reads_and_shows(text: str, part: object) -> None:
    """A text gives this part, and the part's own text gives it again."""
    assert spec.parse(text) == part
    assert spec.parse(spec.show(part)) == part


def test_shows_only_what_differs_from_the_defaults() -> None:
    part = PickOne(8, Sharp(noise=0.5), verifiers=(Sharp(),))
    assert spec.show(part) == "pick_one(n=8, verifier=sharp(noise=0.5), verifiers=(sharp(),))"


def test_a_whole_number_for_a_float_is_the_same_configuration() -> None:
    assert spec.show(spec.parse("sharp(noise=1)", "verify")) == "sharp(noise=1.0)"


@given(
    st.integers(1, 10**9),
    st.floats(0, 1),
    st.text(max_size=20),
    st.booleans(),
    st.lists(st.floats(allow_nan=False), max_size=4),
)
def test_every_part_survives_being_shown(
    n: int, noise: float, kind: str, share: bool, weights: list[float]
) -> None:
    part = PickOne(n, Sharp(noise, kind), inner=PickOne(n), share=share, weights=tuple(weights))
    again = spec.parse(spec.show(part))
    assert again == part and spec.show(again) == spec.show(part)


@pytest.mark.parametrize(
    "text", ["plain; pick_one(8)", "plain\npick_one(8)\n", "plain, pick_one(8)", "plain; pick_one(8);"]
)
def test_lists(text: str) -> None:
    assert spec.parse_list(text) == [Plain(), PickOne(8)]


@pytest.mark.parametrize(
    "text, words",
    [
        ("plan", "did you mean 'plain'? There are: pick_one, plain"),
        ("pick_one(8, shared=True)", "no field of pick_one named 'shared'; did you mean 'share'?"),
        ("pick_one(8, verifier=sharpe)", "no verifier named 'sharpe'; did you mean 'sharp'?"),
        ("plain(n=3)", "plain takes no fields, got 'n'"),
        ("plain(3)", "plain takes 0 fields"),
        ("pick_one()", "pick_one needs n"),
        ("pick_one(n=0)", "pick_one: n=0: give at least 1"),
        ("pick_one(8, verifier=sharp(noise=2))", "sharp: noise=2.0: give a probability"),
        ("pick_one(n=8.5)", "pick_one: n=8.5: give int"),
        ("pick_one(n=True)", "pick_one: n=True: give int"),
        ("pick_one(n='8')", "pick_one: n='8': give int"),
        ("pick_one(8, n=8)", "n is given twice"),
        ("pick_one(8, inner=3)", "3 is no strategy: give a name"),
        ("pick_one(8, inner='vote')", "'vote' is text, not a strategy: give one of "),
        ("pick_one(8, share=None)", "give bool"),
        ("pick_one(n=len)", "pick_one: n=len: give a number"),
        ("pick_one(**{'n': 8})", "no field of pick_one named '**'"),
        ("pick_one(n=8", "cannot read 'pick_one(n=8' as a configuration such as vote(n=8)"),
        ("import os", "cannot read"),
        ("x = 3", "cannot read"),
        ("os.system('x')", "is no strategy"),
        ("__import__('os')", "no strategy named '__import__'"),
        ("plain; plain", "names 2 parts"),
        ("", "nothing given where a strategy should be"),
        (" # only a comment", "nothing given"),
        ("plain\0", "cannot read"),
        ("pick_one(" + "9" * 5000 + ")", "too long"),
        ("pick_one(8, weights=" + "(" * 30 + "1.0" + ",)" * 30 + ")", "deeper than 20 levels"),
        ("pick_one(8, inner=" * 30 + "plain" + ")" * 30, "deeper than 20 levels"),
        ("-" * 4000 + "1", "cannot read"),
        ("(" * 500, "cannot read"),
        ("plain" + ".a" * 1900, "is no strategy"),
    ],
)
def test_refuses_in_one_line(text: str, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        spec.parse(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


@given(st.text(max_size=60) | st.text(alphabet="plain_sh()=,;[]{}'\"\\ \n1.-+*#:", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        spec.parse_list(text)
    except BadInput as error:
        assert "\n" not in str(error)


def test_a_list_keeps_what_was_given() -> None:
    found = spec.parse_named("plain;  pick_one( n = 8, share=False )")
    assert found == [("plain", Plain()), ("pick_one(n=8, share=False)", PickOne(8))]


def test_names_of_a_missing_thing_are_an_unknown_name() -> None:
    with pytest.raises(UnknownName):
        spec.find("nothing", "strategy")


def test_describes() -> None:
    assert spec.describe(Plain) == spec.Description("plain", "Write once.", (), "arXiv:2203.11171")
    assert spec.describe(PickOne).fields[:2] == ("n", "verifier=sharp()")
