"""STRATEGIES.md: what was run, what claims came to, and every strategy at every budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from benchmarks.report import table
from benchmarks.strategies.claims import Finding
from benchmarks.strategies.comparing import Point, Results, difference
from benchmarks.strategies.lines import Line
from benchmarks.strategies.overhead import Cost
from benchmarks.strategies.overhead import table as overhead_table
from benchmarks.strategies.parts import ORACLES, PROMPTED
from benchmarks.strategies.settings import STRIDE, TEMPERATURE, Unit

DETAIL = 16  # the budget of the detailed tables
PLOTS = ("strategies.png", "strategies_families.png")


@dataclass(frozen=True)
class Facts:
    """What the report says of the run beside its results."""

    units: dict[str, Unit]
    problems: int
    seeds: Sequence[int]
    machine: Sequence[str]
    remarks: Sequence[str] = ()
    check: dict[str, Any] = field(default_factory=dict)  # of `checking.summary`
    overhead: Sequence[Cost] = ()
    overhead_machine: Sequence[str] = ()


def render(results: Results, found: Sequence[Finding], facts: Facts) -> str:
    """The whole document."""
    parts = [_head(facts), *(f"**{remark}**" for remark in facts.remarks), "## How", _how(facts)]
    parts += ["## What published claims came to", CLAIMS, _claims(found)]
    parts += [
        f"![Accuracy against tokens written, a panel for each verifier]({PLOTS[0]})",
        f"![The same for each family, with {ORACLES[0]}]({PLOTS[1]})",
    ]
    parts += ["## Accuracy at equal budgets", BUDGETS, *_ladders(results)]
    parts += [f"## What it takes, at {DETAIL} samples' tokens", COSTS, *_details(results)]
    parts += ["## Recorded against live", _check(facts.check)]
    if facts.overhead:
        machine = "\n".join(f"- {line}" for line in facts.overhead_machine)
        rows = table(*overhead_table(facts.overhead))
        parts += ["## Time outside the forward, and positions", OVERHEAD, machine, rows]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


CLAIMS = """Differences are paired (same problem, same seed), in points of accuracy, with 95 % bootstrap
intervals. *holds* and *does not hold* are said where the whole interval is on that side (for "no worse": not
worse by more than 2 points); else it is undecided at this number of problems. A ratio of tokens compares with
the budget at which the rival's curve reaches the same accuracy; where that was not run, the largest run says
at least how much. Likely reasons are in [the log](../docs/LOG.md)."""

BUDGETS = """Percent of right answers, mean of the four families, at a cap of so many times the mean sample's
tokens. In brackets the paired difference to the reference (`best_of_n` with the same verifier; without a
verifier `vote`), bold where its 95 % interval leaves out 0. A dash was not run."""

COSTS = """Means over all cells: written tokens (in samples), candidates given to the verifier, positions of
the model (in samples' tokens, the prompt in it; not known under replay), seconds of CPU a problem. Intervals
are Wilson's, those of differences paired."""

OVERHEAD = """16 texts side by side on one request at a time, each on an engine with an empty cache. Rows and
seconds are counted around `model.forward`; distinct tokens are those of the prompt and of all that branches
wrote. *engine* is all that is neither forward, draw nor verifier: a token that a branch wrote, and beside
the forward of `pocket` and of models of 80M and 312M parameters that write the same
(`benchmarks/padded.py`).
Branches that write the same share rows, and what is known is drawn from again: the fewer rows, the larger
the share."""


def _head(facts: Facts) -> str:
    machine = "\n".join(f"- {line}" for line in facts.machine)
    return f"""# Strategies at equal budgets

Written by `python -m benchmarks.strategies report`; do not edit. The data is in
[strategies.jsonl](strategies.jsonl): a line for each family, strategy, verifier and budget, with a value of
`right` and `written` for each problem and seed, in one order.

{machine}"""


def _how(facts: Facts) -> str:
    n, seeds = facts.problems, len(facts.seeds)
    rows = [
        [name, f"{u.mean:.1f}", str(u.long), str(u.step), ", ".join(str(u.cap(m)) for m in (1, 8, 64))]
        for name, u in facts.units.items()
    ]
    units = table(["family", "mean sample", "95 % are within", "longest step", "caps at 1, 8, 64"], rows)
    first = f"seed s has the problems {STRIDE}s to {STRIDE}s + {n - 1}, so the {seeds * n} cells"
    left_out = f"strategies that need a model which follows prompts ({PROMPTED})"
    return f"""`pocket` in float32, temperature {TEMPERATURE}, default levels, test split.
{seeds} seeds with {n} problems a family each: {first} of a family are
independent of one another, and a pair is one problem under one seed, where every strategy begins with the
same chance. A budget is a hard cap on written tokens (`Budget(written=...)`), thrown-away tokens included, of
1 to 64 times the mean sample of the family, which was measured on the train split, in tokens:

{units}

- **Parameters.** Nothing was tuned on these problems. What writes n texts side by side gets n = the cap / the
  length that 95 % of samples are within, so that the cap rarely cuts them all in their last step; step
  searches get width * expand = that n, expand at most 4; what searches until it is done has no bound but the
  cap. The configurations are in the data.
- **Selectors** are replayed from 96 recorded samples of every problem and seed: as many samples, one after
  another, as the cap pays for (what a rule that kills early saves, buys more); mean of 8 orders of the
  samples, of which the first is that of the branches. `, side by side` has only as many samples as searches
  have texts.
- **Verifiers.** `steps(noise=p, seed=0)` is the task's own step checker with each verdict flipped with
  probability p; the flips are a function of the text, as those of a trained model, so that best of n and a
  search hear the same of the same words. `likelihood` and `certainty` are the model's own.
- **At 1 sample's tokens** the cap cuts about half of all single samples short; searches, which hold back a
  step's tokens to finish their best text, have no room at all. It is there because budgets begin there.
- **Not run**: {left_out}, and `model_switch`, which needs two models. Dashes are what the time for this run
  did not reach."""


def _claims(found: Sequence[Finding]) -> str:
    rows, last = [], ""
    for finding in found:
        verdict = finding.verdict if finding.claim[0] != "(" else ""
        rows.append(
            [finding.claim if finding.claim != last else "", finding.setting, finding.measured, verdict]
        )
        last = finding.claim
    return table(["claim", "where", "measured", "verdict"], rows)


def _ladders(results: Results) -> list[str]:
    """A table for each verifier."""
    parts = []
    for verifier in _verifiers(results):
        multiples = sorted({key[3] for key in results.lines})
        rows = [
            [_name(strategy), *(_cell(results, strategy, verifier, multiple) for multiple in multiples)]
            for strategy in _strategies(results, verifier)
        ]
        title = f"### {_title(verifier)}"
        parts += [title, table(["strategy", *(f"{m}x" for m in multiples)], rows)]
    return parts


def _cell(results: Results, strategy: str, verifier: str, multiple: int) -> str:
    point = results.point(strategy, verifier, multiple)
    if point is None:
        return "-"
    told = f"{100 * point.accuracy:.0f}"
    reference = results.point(_reference(verifier), verifier, multiple)
    if reference is None or strategy == _reference(verifier):
        return told
    gap = difference([(point, reference)])
    shown = f"{100 * gap.difference:+.0f}"
    return f"{told} (**{shown}**)" if gap.low > 0 or gap.high < 0 else f"{told} ({shown})"


def _details(results: Results) -> list[str]:
    header = [
        "strategy",
        "accuracy",
        "against vote",
        "against best of n",
        "written",
        "verified",
        "positions",
        "s",
    ]
    parts = []
    for verifier in _verifiers(results):
        rows = [
            [_name(strategy), *_detail(results, strategy, verifier)]
            for strategy in _strategies(results, verifier)
            if results.point(strategy, verifier, DETAIL)
        ]
        parts += [f"### {_title(verifier)}", table(header, rows)]
    return parts


def _detail(results: Results, strategy: str, verifier: str) -> list[str]:
    point = results.point(strategy, verifier, DETAIL)
    assert point is not None
    low, high = point.interval()
    whole = [results.lines[family, strategy, verifier, DETAIL] for family in results.families]
    against = [
        results.point("vote", "", DETAIL),
        results.point("best_of_n", verifier, DETAIL) if verifier else None,
    ]
    return [
        f"{100 * point.accuracy:.0f} [{100 * low:.0f}, {100 * high:.0f}]",
        *(_against(point, other) for other in against),
        f"{fmean(point.spent):.1f}",
        f"{fmean(line['verified'] for line in whole):.0f}",
        _positions(results, whole),
        f"{fmean(line['cpu_seconds'] for line in whole):.2f}",
    ]


def _against(point: Point, other: Point | None) -> str:
    if other is None or other is point or other == point:
        return ""
    gap = difference([(point, other)])
    return f"{100 * gap.difference:+.0f} [{100 * gap.low:+.0f}, {100 * gap.high:+.0f}]"


def _positions(results: Results, whole: Sequence[Line]) -> str:
    if any("positions" not in line for line in whole):
        return ""
    return f"{fmean(line['positions'] / results.means[line['family']] for line in whole):.1f}"


def _check(check: dict[str, Any]) -> str:
    if not check:
        return "Not done."
    same = f"{check['same']} of {check['of']} answers and token counts"
    where = f"{check['selectors']} selectors at 8x on one problem of each family and seed"
    told = f"{same} are the same live, with as many samples and the same seed, as replayed: {where}."
    return "\n".join([told, *(f"- {line}" for line in check["differ"])])


def _reference(verifier: str) -> str:
    return "best_of_n" if verifier else "vote"


def _verifiers(results: Results) -> list[str]:
    return sorted({key[2] for key in results.lines})


def _strategies(results: Results, verifier: str) -> list[str]:
    names: dict[str, Any] = {key[1]: None for key in results.lines if key[2] == verifier}
    return [name for name in names if results.curve(name, verifier)]


def _title(verifier: str) -> str:
    return f"With `{verifier}`" if verifier else "Without a verifier"


def _name(strategy: str) -> str:
    return strategy.replace("_", r"\_")
