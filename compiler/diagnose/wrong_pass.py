"""The first pass after which the numbers are others, and what it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from compiler.diagnose.changed import shared_places
from compiler.diagnose.cut import piece, slice_of
from compiler.diagnose.finding import Finding
from compiler.diagnose.question import Question
from compiler.diagnose.route import Change, Route
from compiler.diagnose.search import Clock, narrow
from compiler.diagnose.values import truth_of
from compiler.diagnose.wrong_places import GRAPH, find
from compiler.errors import CompileError

BEFORE = "before.onnx"


@dataclass(frozen=True)
class PassFault:
    suspects: Sequence[Change]  # one, where every step between could be judged
    finding: Finding | None


def find_pass(route: Route, last: int, question: Question, clock: Clock) -> PassFault:
    """Of the first `last` changes. After all of them the numbers are wrong, before the first they are right."""

    def is_bad(count: int) -> bool | None:
        right = None if clock.over() else question.ask(route.walk(count)[0]).right
        return None if right is None else not right

    low, high = narrow(0, last, is_bad)
    (before, _), (after, changes) = route.walk(low), route.walk(high)
    return PassFault(changes[low:], _what_changed(before, after, question, clock))


def _what_changed(before: ir.Model, after: ir.Model, question: Question, clock: Clock) -> Finding | None:
    places = shared_places(before, after)
    truth = truth_of(before, question.case.inputs)
    places &= truth.plain.keys()
    try:
        finding = find(after, question, truth, places, clock)
    except CompileError:
        return None  # what the pass left cannot be evaluated at all; the stages say so
    if finding is None:
        return None
    name = next(iter(finding.got))
    old = piece(before, slice_of(before.graph, [name], places), [name], {**truth.plain, **question.case.inputs})
    given = [str(value.name) for value in old.graph.inputs]
    inputs = {**finding.inputs, **{place: truth.plain[place] for place in given}}
    return replace(finding, inputs=inputs, graphs={BEFORE: old, "after.onnx": finding.graphs[GRAPH]})
