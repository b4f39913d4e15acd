"""One case of the reference, asked again of one graph after another."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.contracts import Arrays, Case, OutputVerdict, Reference, Verdict
from compiler.validate.compare import compare
from compiler.validate.units import Units, units

_OTHERS = 2  # cases beside those that the verdict names


@dataclass(frozen=True)
class Question:
    """`measured` are the units of all cases: one alone may be lucky."""

    case: Case
    measured: Units

    def wrong(self, answer: Arrays) -> OutputVerdict | None:
        """The worst of the outputs that are not what they should be. Those that the answer leaves out are right."""
        verdict = compare([self.case], [{**self.case.outputs, **answer}], self.measured)
        failed = [found for found in verdict.outputs if not found.passed]
        return max(failed, key=lambda found: found.used, default=None)


def questions(reference: Reference, verdict: Verdict) -> list[Question]:
    """The cases that failed, as far as the verdict names them, and the smallest of the others; small ones first."""
    measured = units(reference.cases)
    named = {found.case for found in verdict.outputs if not found.passed}
    by_size = sorted(reference.cases, key=lambda case: sum(array.size for array in case.inputs.values()))
    failed = [case for case in by_size if case.name in named]
    others = [case for case in by_size if case.name not in named]
    return [Question(case, measured) for case in (*failed, *others[:_OTHERS])]
