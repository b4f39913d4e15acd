"""One case of the reference, asked again of one graph after another."""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx_ir as ir

from compiler.cases import Branch, Case, Decision, Otherwise, Reference
from compiler.contracts import Arrays
from compiler.diagnose.search import Clock
from compiler.errors import CompileError
from compiler.ir.evaluate import Evaluator
from compiler.validate.branches import judge_cases
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
    """`measured` are the units of all cases: one alone may be lucky. The other choice of a near decision is right."""

    case: Case
    measured: Units
    terms: Terms
    otherwise: Otherwise | None = None

    def wrong(self, answer: Arrays) -> OutputVerdict | None:
        """The worst of the outputs that are not what they should be. Those that the answer leaves out are right."""
        case, otherwise = self.case, self.otherwise
        left_out = case.outputs.keys() - answer.keys()

        def of_the_answer(asked: Case, taken: tuple[Decision, ...]) -> Branch | None:
            found = None if otherwise is None else otherwise(asked, taken)
            if found is None:
                return None
            outputs, oracle = ({name: known[name] for name in left_out} for known in (case.outputs, case.oracle))
            return replace(found, outputs={**found.outputs, **outputs}, oracle={**found.oracle, **oracle})

        asked = None if otherwise is None else of_the_answer
        verdict = judge_cases([case], [{**case.outputs, **answer}], self.measured, self.terms, asked).verdict
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


def questions(
    reference: Reference, verdict: Verdict, terms: Terms, otherwise: Otherwise | None, clock: Clock
) -> list[Question]:
    """The cases that failed, as far as the verdict names them, and the smallest of the others; small ones first.

    Where the model decides, a case that the verdict names may be right but for a near decision: then all are asked.
    """
    measured = units(reference.cases)
    named = {found.case for found in verdict.outputs if not found.passed}
    by_size = sorted(reference.cases, key=lambda case: sum(array.size for array in case.inputs.values()))
    failed = [case for case in by_size if case.name in named]
    others = [case for case in by_size if case.name not in named]
    if otherwise is None or not any(case.close for case in failed):
        others = others[:_OTHERS]
    remembered = None if otherwise is None else _remembered(otherwise, clock)
    return [Question(case, measured, terms, remembered) for case in (*failed, *others)]


def _remembered(otherwise: Otherwise, clock: Clock) -> Otherwise:
    """The same choices are asked for of one graph after another; no new ones when the time is up."""
    known: dict[tuple[str, tuple[Decision, ...]], Branch | None] = {}

    def asked(case: Case, taken: tuple[Decision, ...]) -> Branch | None:
        if (case.name, taken) not in known and not clock.over():
            known[case.name, taken] = otherwise(case, taken)
        return known.get((case.name, taken))

    return asked
