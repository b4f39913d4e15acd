"""Branches and loops.

A branch whose condition is known while compiling is written out in place, and so is a loop of known length. Other loops
become functions (loops.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax, tirx

from backends.tvm.emit.loops import by_doubling
from backends.tvm.emit.op import Emit, Op, Result
from backends.tvm.emit.shaping import concatenated

_LONGEST = 512  # steps that are written out


def _if(op: Op) -> Result:
    condition = op.constant(0)
    branches = [op.node.attributes[name].as_graph() for name in ("then_branch", "else_branch")]
    if condition is not None:
        return op.emitter.inline(branches[0 if condition.item() else 1], [])
    chosen = op.reshape(op.x(0), [])
    then, other = (op.emitter.branch(branch) for branch in branches)
    pair = op.emit(relax.If(chosen, then, other))
    return [_cast_to_rank(op, op.emit(relax.TupleGetItem(pair, place))) for place in range(len(op.node.outputs))]


def _cast_to_rank(op: Op, x: relax.Expr) -> relax.Expr:
    """Branches that give different sizes: from here on the size has a name."""
    if x.ty.shape is not None:
        return x
    if x.ty.ndim < 0:
        op.refuse("its branches give different ranks")
    sizes = [tirx.Var(f"{op.type.lower()}_size", "int64") for _ in range(x.ty.ndim)]
    return op.bb.match_cast(x, relax.TensorType(sizes, x.ty.dtype))


def _loop(op: Op) -> Result:
    body = op.node.attributes["body"].as_graph()
    trips, condition = op.constant(0) if op.has(0) else None, op.constant(1) if op.has(1) else None
    if trips is None or (op.has(1) and condition is None) or trips.item() > _LONGEST:
        return by_doubling(op)
    count = int(trips.item()) if condition is None or condition.item() else 0
    carried = [op.value(place) for place in range(2, len(op.node.inputs))]
    state: list[Any] = [op.emitter.entry(value) for value in carried]
    collected: list[list[relax.Expr]] = []
    for step in range(count):
        outputs = op.emitter.inline_entries(body, [step, True, *state])
        stay = op.emitter.constant_of(outputs[0])
        if stay is None:
            return by_doubling(op)
        state = outputs[1 : 1 + len(carried)]
        for place, entry in enumerate(outputs[1 + len(carried) :]):
            if step == 0:
                collected.append([])
            collected[place].append(op.emitter.tensor_of(entry))
        if not stay.item():
            break
    scans = len(body.outputs) - 1 - len(carried)
    if count == 0 and scans:
        op.refuse("it never runs, and what it collects would have no size")
    return [*(op.emitter.tensor_of(entry) for entry in state), *(_stacked(op, steps, 0) for steps in collected)]


def _stacked(op: Op, steps: list[relax.Expr], axis: int) -> relax.Expr:
    expanded = [op.emit(relax.op.expand_dims(step, axis)) for step in steps]
    return expanded[0] if len(expanded) == 1 else op.emit(concatenated(op, expanded, axis))


def _scan(op: Op) -> Result:
    if op.version < 9:
        op.refuse("it is of opset 8, where it had a batch")
    body = op.node.attributes["body"].as_graph()
    scanned = int(op.attr("num_scan_inputs"))
    states = len(op.node.inputs) - scanned
    results = len(op.node.outputs) - states
    in_axes = op.attr("scan_input_axes", None) or [0] * scanned
    in_backwards = op.attr("scan_input_directions", None) or [0] * scanned
    out_axes = op.attr("scan_output_axes", None) or [0] * results
    out_backwards = op.attr("scan_output_directions", None) or [0] * results
    axes = [axis % op.rank(states + place) for place, axis in enumerate(in_axes)]
    count = op.shape(states)[axes[0]]
    if not isinstance(count, int) or not 0 < count <= _LONGEST:
        op.refuse(f"its number of steps is not a constant of 1..{_LONGEST}")
    state: list[Any] = [op.emitter.entry(op.value(place)) for place in range(states)]
    collected: list[list[relax.Expr]] = [[] for _ in range(results)]
    for step in range(count):
        slices = [
            _slice_at(op, states + place, axis, count - 1 - step if backwards else step)
            for place, (axis, backwards) in enumerate(zip(axes, in_backwards, strict=True))
        ]
        outputs = op.emitter.inline_entries(body, [*state, *slices])
        state = outputs[:states]
        for place, entry in enumerate(outputs[states:]):
            collected[place].append(op.emitter.tensor_of(entry))
    stacked = []
    for steps, axis, backwards in zip(collected, out_axes, out_backwards, strict=True):
        rank = len(steps[0].ty.shape) + 1
        stacked.append(_stacked(op, steps[::-1] if backwards else steps, axis % rank))
    return [*(op.emitter.tensor_of(entry) for entry in state), *stacked]


def _slice_at(op: Op, place: int, axis: int, index: int) -> relax.Expr:
    return op.emit(relax.op.take(op.x(place), relax.const(np.int64(index)), axis, mode="clip"))


EMIT: dict[str, Emit] = {"If": _if, "Loop": _loop, "Scan": _scan}
