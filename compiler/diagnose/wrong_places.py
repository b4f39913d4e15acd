"""The place of a graph that is wrong by itself, where the right values of many places are known.

Every known place is computed from right values, all in one run; those that come out wrong are the suspects. Of several,
the first that spoils the outputs all alone is named.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from compiler.diagnose.cut import given_to, piece, slice_of
from compiler.diagnose.finding import Finding
from compiler.diagnose.question import Question
from compiler.diagnose.search import Clock
from compiler.diagnose.values import Truth, made, run_given
from compiler.verdicts import OutputVerdict

_TRIED = 32  # suspects that are tried alone

GRAPH = "reduced.onnx"


def find(model: ir.Model, question: Question, truth: Truth, places: Collection[str], clock: Clock) -> Finding | None:
    """The first wrong place; None where every place is right by itself."""
    inputs = question.case.inputs
    order = [str(value.name) for value in made(model.graph) if value.name in places]
    got = run_given(model, inputs, truth, order, order)
    wrong = truth.wrong(got)
    name = _guilty(model, question, truth, {name: wrong[name] for name in order if name in wrong}, clock)
    if name is None:
        return None
    nodes = slice_of(model.graph, [name], places)
    given = [str(value.name) for value in given_to(nodes)]
    known = {**truth.plain, **inputs}
    return Finding(
        nodes,
        wrong[name],
        {place: known[place] for place in given},
        truth.only([name]),
        {name: got[name]},
        {GRAPH: piece(model, nodes, [name], known)},
        error_in=_error_in(model, question, truth, given),
        elsewhere=len(wrong) - 1,
    )


def _guilty(
    model: ir.Model, question: Question, truth: Truth, wrong: dict[str, OutputVerdict], clock: Clock
) -> str | None:
    if len(wrong) < 2:
        return next(iter(wrong), None)
    worst = sorted(wrong, key=lambda name: wrong[name].used, reverse=True)[:_TRIED]
    for name in wrong:
        if name in worst and not clock.over() and _spoils_alone(model, question, truth, wrong.keys() - {name}):
            return name
    return worst[0]


def _spoils_alone(model: ir.Model, question: Question, truth: Truth, others: Collection[str]) -> bool:
    """Whether the outputs are wrong although all the other suspects are right."""
    wanted = [str(value.name) for value in model.graph.outputs if value.name not in others]
    answer = run_given(model, question.case.inputs, truth, others, wanted)
    return question.wrong(answer) is not None


def _error_in(model: ir.Model, question: Question, truth: Truth, given: Collection[str]) -> float | None:
    """How far off the piece's inputs are when the whole graph runs."""
    computed = [name for name in given if name in truth and name not in question.case.inputs]
    if not computed:
        return None
    return truth.distance(run_given(model, question.case.inputs, truth, (), computed))
