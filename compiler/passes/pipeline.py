"""Which passes run, in which order, and what is checked after each."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import onnx_ir as ir

from compiler.contracts import PassRecord, Signature
from compiler.errors import CompileError, InternalError, PlumblineError
from compiler.ir.store import weight_bytes
from compiler.ir.verify import signature_of, verify


@dataclass(frozen=True)
class Step:
    """One entry of the pipeline: the name a user sees, where the pass is, and why it stands where it stands."""

    name: str
    where: str
    reason: str

    def make(self) -> ir.passes.PassBase:
        module, _, attribute = self.where.partition(":")
        return cast(ir.passes.PassBase, getattr(importlib.import_module(module), attribute)())


# In the order in which they run.
DEFAULT: tuple[Step, ...] = (
    Step(
        "lift-constants",
        "compiler.passes.lift_constants:LiftConstants",
        "first: later passes look at initializers only",
    ),
    Step("infer-shapes", "compiler.passes.infer_shapes:InferShapes", "early: many passes ask for a shape"),
    Step(
        "remove-identities", "compiler.passes.remove_identities:RemoveIdentities", "before folding: fewer users to see"
    ),
    Step(
        "remove-dead-code", "compiler.passes.remove_dead_code:RemoveDeadCode", "before merging: dead weights cost time"
    ),
    Step(
        "merge-duplicate-weights",
        "compiler.passes.merge_duplicate_weights:MergeDuplicateWeights",
        "before any folding, which must know who shares a weight",
    ),
    Step(
        "fold-transposed-weights",
        "compiler.passes.fold_transposed_weights:FoldTransposedWeights",
        "before fold-constants, which would copy the weight",
    ),
    Step("fold-constants", "compiler.passes.fold_constants:FoldConstants", "after every constant is an initializer"),
    Step("sweep", "compiler.passes.remove_dead_code:RemoveDeadCode", "last: what folding left behind"),
)


def run(model: ir.Model, steps: Sequence[Step] = DEFAULT) -> list[PassRecord]:
    """Run the steps in place. After each, the structure holds and the signature is what it was."""
    return run_passes(model, [(step.name, step.make()) for step in steps])


def run_passes(model: ir.Model, passes: Iterable[tuple[str, ir.passes.PassBase]]) -> list[PassRecord]:
    return [_run_one(model, name, instance) for name, instance in passes]


def _run_one(model: ir.Model, name: str, instance: ir.passes.PassBase) -> PassRecord:
    before = signature_of(model)
    nodes, size = _nodes(model), weight_bytes(model)
    started = time.perf_counter()
    try:
        result = instance(model)
    except ir.passes.PassError as error:
        cause = error.__cause__
        if isinstance(cause, PlumblineError):
            raise cause from error
        raise CompileError("pass-failed", f"the pass {name} failed", why=str(cause or error)) from error
    if result.model is not model:
        raise InternalError("pass-broke-promise", f"the pass {name} handed back another model")
    seconds = time.perf_counter() - started
    _hold_structure(name, model)
    _hold_signature(name, before, signature_of(model))
    declined: tuple[str, ...] = getattr(instance, "take_declined", tuple)()
    return PassRecord(
        name, bool(result.modified), nodes, _nodes(model), size, weight_bytes(model), round(seconds, 4), declined
    )


def _hold_structure(name: str, model: ir.Model) -> None:
    try:
        verify(model)
    except InternalError as error:
        message = f"the pass {name} broke the graph"
        raise InternalError("pass-broke-promise", message, where=error.where, why=error.why) from error


def _hold_signature(name: str, before: Signature, after: Signature) -> None:
    if before != after:
        changed = [f"{old} became {new}" for old, new in _pairs(before, after) if old != new]
        raise InternalError("pass-broke-promise", f"the pass {name} changed the signature", why="; ".join(changed))


def _pairs(before: Signature, after: Signature) -> list[tuple[Any, Any]]:
    old, new = [*before.inputs, *before.outputs], [*after.inputs, *after.outputs]
    if len(old) != len(new):
        return [(f"{len(old)} inputs and outputs", f"{len(new)}")]
    return list(zip(old, new, strict=True))


def _nodes(model: ir.Model) -> int:
    return sum(1 for _ in ir.traversal.RecursiveGraphIterator(model.graph))
