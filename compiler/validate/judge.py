"""The whole verdict on one artifact: its answers are asked for here, and held against the reference."""

from __future__ import annotations

from dataclasses import replace

from compiler.contracts import ORDINARY, Check, Reference, Terms, Verdict
from compiler.validate.compare import compare
from compiler.validate.edges import differing, judge_edges
from compiler.validate.units import units


def judge(reference: Reference, answer: Check, terms: Terms) -> Verdict:
    measured = units(reference.cases)
    verdict = compare(reference.cases, [answer(case.inputs) for case in reference.cases], measured, terms)
    # Last, because a probe may end the runtime.
    edges = judge_edges(reference.edges, answer, measured[ORDINARY])
    status = "failed" if terms.strict_edges and differing(edges) else verdict.status
    return replace(verdict, status=status, notes=(*reference.notes, *verdict.notes), edges=edges)
