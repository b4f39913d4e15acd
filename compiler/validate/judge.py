"""The whole verdict on one artifact: its answers are asked for here, and held against the reference."""

from __future__ import annotations

from dataclasses import replace

from compiler.contracts import Check, Reference, Terms, Verdict
from compiler.validate.compare import compare


def judge(reference: Reference, answer: Check, terms: Terms) -> Verdict:
    verdict = compare(reference.cases, [answer(case.inputs) for case in reference.cases])
    return replace(verdict, notes=(*reference.notes, *verdict.notes))
