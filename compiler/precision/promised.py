"""What an artifact in lower precision must keep of the model: what the user asked for, or else a sensible default."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from compiler.cases import ORDINARY, Reference
from compiler.contracts import Arrays, Signature, TensorSpec
from compiler.validate import contract
from compiler.verdicts import Clause, Terms, Verdict

# Of all numbers of an output together, in every case. What points at something may point elsewhere now and then.
_COSINE = {"float16": 0.9999, "bfloat16": 0.999, "int8": 0.99, "int4": 0.98}
_EQUAL = 0.9


def completed(asked: Terms, signature: Signature, precision: str) -> Terms:
    """With a default for each output that nothing was asked of. A tolerance speaks of all floats."""
    tolerant = asked.atol is not None or asked.rtol is not None
    clauses = list(asked.contract)
    of_all = any(clause.output is None for clause in clauses)
    named = {clause.output for clause in clauses}
    for spec in signature.outputs:
        is_float = "float" in spec.dtype
        if spec.name not in named and not (is_float and (of_all or tolerant)):
            clauses.append(_default(spec, precision))
    return replace(asked, contract=tuple(clauses))


def _default(spec: TensorSpec, precision: str) -> Clause:
    measure, bound = ("cosine", _COSINE[precision]) if "float" in spec.dtype else ("equal", _EQUAL)
    return Clause(f"{spec.name}:{measure}>={bound:g}", measure, spec.name, ">=", bound)


def on_real_data(reference: Reference, held_back: Mapping[str, Arrays]) -> Reference:
    """Data that was held back tells more than what is drawn, and is all that counts where there is some."""
    cases = [case for case in reference.cases if case.name in held_back]
    cases = cases or [case for case in reference.cases if case.kind == ORDINARY]
    return replace(reference, cases=tuple(cases))


def both(kept: Verdict, faithful: Verdict, terms: Terms, asked: Terms) -> Verdict:
    """The verdict on the model; a runtime that computes something else than its graph is told of and fails as well."""
    decided = set(contract.notes(kept.outputs))  # that something else than the budget decides goes without saying here
    others = [note for note in kept.notes if note not in decided]
    notes = [*_told(faithful), *_defaults(terms.contract, asked.contract), *others]
    status = "failed" if "failed" in (kept.status, faithful.status) else kept.status
    return replace(kept, status=status, notes=tuple(notes))


def _told(faithful: Verdict) -> list[str]:
    worst = faithful.worst
    if faithful.passed or worst is None:
        return []
    return [f"the runtime does not compute the graph that it was given: '{worst.output}' {worst.why}"]


def _defaults(terms: Iterable[Clause], asked: Iterable[Clause]) -> list[str]:
    own = [clause.text for clause in terms if clause not in tuple(asked)]
    return [f"nothing else was asked for, so it must keep {', '.join(own)}"] if own else []
