"""The whole verdict on one artifact: its answers are asked for here, and held against the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from compiler.cases import ORDINARY, Otherwise, Reference
from compiler.contracts import Arrays, Check
from compiler.validate.branches import judge_cases, kept
from compiler.validate.edge_branches import judge_edges_either_way
from compiler.validate.edges import differing
from compiler.validate.stored import StoredReference
from compiler.validate.units import Units, units
from compiler.verdicts import Terms, Verdict


def judge(reference: Reference, answer: Check, terms: Terms) -> Verdict:
    """Where a decision is near its boundary, it is judged as it falls."""
    return judge_either_way(reference, answer, terms, None)[1]


def judge_either_way(
    reference: Reference, answer: Check, terms: Terms, otherwise: Otherwise | None
) -> tuple[Reference, Verdict]:
    """With the other choice of near decisions where the first one does not fit; the reference keeps what was asked."""
    answers = [answer(case.inputs) for case in reference.cases]
    return _together(reference, answers, units(reference.cases), answer, terms, otherwise)


def judge_again(stored: StoredReference, answer: Check, terms: Terms) -> Verdict:
    """From what a bundle keeps."""
    answers = [case.thin(answer(case.case.inputs)) for case in stored.cases]
    cases = tuple(case.case for case in stored.cases)
    reference = Reference(cases, "", 0, stored.notes, stored.edges)
    return _together(reference, answers, stored.units, answer, terms, kept)[1]


def _together(
    reference: Reference,
    answers: Sequence[Arrays],
    measured: Units,
    answer: Check,
    terms: Terms,
    otherwise: Otherwise | None,
) -> tuple[Reference, Verdict]:
    judged = judge_cases(reference.cases, answers, measured, terms, otherwise)
    # Last, because a probe may end the runtime.
    probed = judge_edges_either_way(reference.edges, answer, measured[ORDINARY], otherwise)
    status = "failed" if terms.strict_edges and differing(probed.verdicts) else judged.verdict.status
    notes = (*reference.notes, *judged.verdict.notes, *probed.notes)
    verdict = replace(judged.verdict, status=status, notes=notes, edges=probed.verdicts)
    return replace(reference, cases=judged.cases, edges=probed.edges), verdict
