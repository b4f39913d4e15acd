"""Under a probe, too, a decision within rounding of another choice may be taken either way.

PyTorch's own answer is the measure there, so the one to the other choice takes its place where an artifact that differs
in numbers is as PyTorch would have been, had it decided so.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from compiler.cases import Case, Decision, Edge, Otherwise
from compiler.contracts import Check
from compiler.errors import CompileError
from compiler.unit import Unit
from compiler.validate.branches import told
from compiler.validate.edges import OTHER_VALUES, Got, answered, differing, judge_edge
from compiler.verdicts import EdgeVerdict

MOST = 8  # decisions that are tried under one probe
PATIENCE = 30.0  # seconds for all of them, under all probes


@dataclass(frozen=True)
class JudgedEdges:
    """The verdicts, and the probes with the answers that these rest on."""

    verdicts: tuple[EdgeVerdict, ...]
    edges: tuple[Edge, ...]
    notes: tuple[str, ...]


def judge_edges_either_way(
    edges: Iterable[Edge], answer: Check, units: Mapping[str, Unit], otherwise: Otherwise | None
) -> JudgedEdges:
    verdicts: list[EdgeVerdict] = []
    settled: list[Edge] = []
    notes: list[str] = []
    ends = time.monotonic() + PATIENCE
    for edge in edges:
        got = answered(edge, answer)
        taken: tuple[Decision, ...] = ()
        found = list(judge_edge(edge, got, units))
        if otherwise is not None and _by_numbers(found):
            edge, taken = _settled(edge, got, units, otherwise, ends)
            found = list(judge_edge(edge, got, units)) if taken else found
        verdicts += found
        settled.append(edge)
        notes += [told(edge.name, taken)] if taken else []
    return JudgedEdges(tuple(verdicts), tuple(settled), tuple(notes))


def _by_numbers(verdicts: Sequence[EdgeVerdict]) -> bool:
    """Whether some differ, and those by their numbers alone."""
    wrong = differing(verdicts)
    return bool(wrong) and all(verdict.how in OTHER_VALUES for verdict in wrong)


def _settled(
    edge: Edge, got: Got, units: Mapping[str, Unit], otherwise: Otherwise, ends: float
) -> tuple[Edge, tuple[Decision, ...]]:
    """The probe as it is, and nothing, where no choice explains the answer."""
    case = Case(edge.name, {}, edge.inputs, edge.outputs, edge.outputs)
    best, fewest = edge, _elements(edge, got, units)
    taken: tuple[Decision, ...] = ()
    try:
        start = otherwise(case, ())
        close = () if start is None else start.close
        for decision in close[:MOST]:
            branch = otherwise(replace(case, close=close), (*taken, decision)) if time.monotonic() < ends else None
            if branch is None:
                continue
            other = replace(edge, outputs=branch.outputs)
            count = _elements(other, got, units)
            if count < fewest:
                best, taken, fewest = other, (*taken, decision), count
            if not fewest:
                return best, taken
    except CompileError:
        pass  # in float64 the program may have no answer to such data
    return edge, ()


def _elements(edge: Edge, got: Got, units: Mapping[str, Unit]) -> int:
    return sum(verdict.count for verdict in differing(judge_edge(edge, got, units)))
