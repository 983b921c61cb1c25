"""`solve` and `explain`: one question, with the text as it is written, or with the tree it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outthink.cli.options import Asking, one_strategy, takes
from outthink.cli.output import answer_json, console, emit, show_answer, show_receipt
from outthink.core.types import Answer
from outthink.strategy.greedy import Greedy

if TYPE_CHECKING:
    from outthink.engine.request import Request
    from outthink.engine.trace import Trace


@takes(Asking)
def solve(options: Asking) -> None:
    """Answer one question, and say what it cost.

    \b
      outthink solve "Mia buys 3 bags of 6 coins. Mia finds 14 more. How many coins does Mia have in the end?"
      outthink solve --task steps --strategy "vote(n=16)" --budget written=4000
      cat question.txt | outthink solve - --strategy "vote(n=8)" --json
    """
    from outthink.cli.live import LiveText
    from outthink.engine.request import as_problem

    out, request = console(options.json), request_of(options)
    with LiveText(out, options.strategy) as live:
        answer = ask(options, request, live)
    if options.json:
        emit(answer_json(answer))
    else:
        show_answer(out, answer, as_problem(request.problem))


@takes(Asking)
def explain(options: Asking) -> None:
    """Answer one question, and draw the tree of everything that was written for it.

    What branches share is drawn once.

    \b
      outthink explain --task steps --strategy "vote(n=8)"
    """
    from outthink.cli.drawing import Recorder, draw, tree_json
    from outthink.cli.live import LiveText
    from outthink.engine.trace import Traces

    record, out, request = Recorder(), console(options.json), request_of(options)
    with LiveText(out, options.strategy) as live:
        answer = ask(options, request, Traces(record, live))
    if options.json:
        emit(answer_json(answer) | {"tree": tree_json(record)})
        return
    out.print(draw(record, answer))
    out.print()
    if answer.receipt:
        show_receipt(out, answer.receipt)


def ask(options: Asking, request: Request, trace: Trace) -> Answer:
    """The answer to a request, on the model that the options name."""
    engine = options.load()
    engine.trace = trace
    try:
        return engine.run(request)
    finally:
        engine.close()


def request_of(options: Asking) -> Request:
    """What the options ask. What they get wrong is said before a model is loaded."""
    problem = options.problem()
    strategy = one_strategy(options.strategy)
    budget, sampling = options.caps(), options.sampling()
    if options.temperature and isinstance(strategy.part, Greedy):
        console(as_json=True).print("greedy has no temperature; to draw: --strategy sample", style="yellow")
    from outthink.engine.request import Request

    return Request(strategy.part, problem, budget, options.seed, sampling, config=strategy.name)
