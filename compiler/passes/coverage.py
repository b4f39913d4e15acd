"""What a target makes of a model, operator by operator, told before anything is built."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import onnx_ir as ir

from compiler.contracts import Coverage, Legality
from compiler.errors import CompileError, UnsupportedError
from compiler.passes.legalize import Legalize, operator_of
from compiler.passes.pipeline import run_passes


def operators(model: ir.Model) -> dict[str, int]:
    """How often each operator occurs, subgraphs included."""
    return dict(sorted(Counter(map(operator_of, model.graph.all_nodes())).items()))


def coverage(model: ir.Model, target: str, legality: Legality, passes: Sequence[ir.passes.PassBase]) -> Coverage:
    """The target's own way with a copy of the model, up to the build."""
    copy = model.clone()
    operator = {node: operator_of(node) for node in copy.graph.all_nodes()}
    refusal = _run(copy, [("legalize", Legalize(legality, target))])
    kept = set(copy.graph.all_nodes())
    if refusal is None:
        refusal = _run(copy, [(type(instance).__name__, instance) for instance in passes])
    refused = _reasons(refusal) if refusal is not None else {}
    as_is = Counter(name for node, name in operator.items() if node in kept and name not in refused)
    expanded = Counter(name for node, name in operator.items() if node not in kept)
    where = (refusal.where or "") if refusal is not None else ""
    return Coverage(as_is, expanded, refused, where, taken=refusal is None)


def _run(model: ir.Model, passes: list[tuple[str, ir.passes.PassBase]]) -> CompileError | None:
    try:
        run_passes(model, passes)
    except CompileError as error:
        return error
    return None


def _reasons(error: CompileError) -> dict[str, str]:
    """What the error names, with the reason that it gives for each."""
    why = error.why or error.message
    parts = dict(part.partition(": ")[::2] for part in why.split("; "))
    named = error.refused if isinstance(error, UnsupportedError) else ()
    return {what: parts.get(what, why) for what in named} or {"the model": why}
