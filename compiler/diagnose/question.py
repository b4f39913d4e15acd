"""One case of the reference, asked again of one graph after another."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from compiler.cases import Case, Reference
from compiler.contracts import Arrays
from compiler.errors import CompileError
from compiler.ir.evaluate import Evaluator
from compiler.validate.compare import compare
from compiler.validate.units import Units, units
from compiler.verdicts import OutputVerdict, Terms, Verdict

_OTHERS = 2  # cases beside those that the verdict names


@dataclass(frozen=True)
class Told:
    """Whether an answer was right, and what was wrong with it; None where there was none."""

    right: bool | None
    words: str = ""


@dataclass(frozen=True)
class Question:
    """`measured` are the units of all cases: one alone may be lucky."""

    case: Case
    measured: Units
    terms: Terms

    def wrong(self, answer: Arrays) -> OutputVerdict | None:
        """The worst of the outputs that are not what they should be. Those that the answer leaves out are right."""
        verdict = compare([self.case], [{**self.case.outputs, **answer}], self.measured, self.terms)
        failed = [found for found in verdict.outputs if not found.passed]
        return max(failed, key=lambda found: found.used, default=None)

    def told(self, answer: Arrays) -> Told:
        worst = self.wrong(answer)
        if worst is None:
            return Told(True)
        return Told(False, f"'{worst.output}' at {self.case.name or 'its size'}: {worst.why}")

    def ask(self, model: ir.Model) -> Told:
        """What the graph answers on plumbline's evaluator."""
        try:
            answer = Evaluator(model, precise=False)(self.case.inputs)
        except CompileError as error:
            if error.code == "unsupported-op":
                return Told(None, f"{error.message}: {error.where}")
            if error.code == "evaluation-failed":
                return Told(False, f"{error.message}: {error.where}: {error.why}")
            raise
        return self.told(answer)


def questions(reference: Reference, verdict: Verdict, terms: Terms) -> list[Question]:
    """The cases that failed, as far as the verdict names them, and the smallest of the others; small ones first."""
    measured = units(reference.cases)
    named = {found.case for found in verdict.outputs if not found.passed}
    by_size = sorted(reference.cases, key=lambda case: sum(array.size for array in case.inputs.values()))
    failed = [case for case in by_size if case.name in named]
    others = [case for case in by_size if case.name not in named]
    return [Question(case, measured, terms) for case in (*failed, *others[:_OTHERS])]
