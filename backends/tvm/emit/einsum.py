"""Einsum: a matrix product where it is one, else a sum over all letters that the result does not have."""

from __future__ import annotations

import string
from typing import Any

from tvm import relax, te, tirx

from backends.tvm.emit.linear import matmul
from backends.tvm.emit.op import Emit, Op, Result
from backends.tvm.emit.reductions import narrowed, widened


def _einsum(op: Op) -> Result:
    operands, result = _labels(op)
    if len(operands) == 2 and _is_product(operands[0], operands[1], result):
        return _as_product(op, operands[0], operands[1], result)
    inner = sorted({label for labels in operands for label in labels} - set(result))

    def compute(*tensors: te.Tensor) -> te.Tensor:
        extents: dict[str, Any] = {}
        for labels, tensor in zip(operands, tensors, strict=True):
            for label, extent in zip(labels, tensor.shape, strict=True):
                if label not in extents or _is_one(extents[label]):
                    extents[label] = extent
        over = {label: te.reduce_axis((0, extents[label]), name=f"k{label}") for label in inner}

        def element(*index: Any) -> Any:
            place = {**dict(zip(result, index, strict=True)), **over}
            value: Any = None
            for labels, tensor in zip(operands, tensors, strict=True):
                own = [0 if _is_one(n) else place[label] for label, n in zip(labels, tensor.shape, strict=True)]
                value = tensor(*own) if value is None else value * tensor(*own)
            return te.sum(value, axis=list(over.values())) if over else value

        return te.compute([extents[label] for label in result], element, name="T_einsum")

    return narrowed(op, op.te(compute, *(widened(op, x) for x in op.tensors())))


def _labels(op: Op) -> tuple[list[str], str]:
    """The letters of each operand's axes and of the result's; the axes of an ellipsis get letters of their own."""
    inputs, arrow, result = op.attr("equation").replace(" ", "").partition("->")
    operands = inputs.split(",")
    free = [letter for letter in string.ascii_letters if letter not in inputs]
    widest = 0
    for place, labels in enumerate(operands):
        if "..." in labels:
            count = op.rank(place) - len(labels) + 3
            widest = max(widest, count)
            operands[place] = labels.replace("...", "".join(free[:count][::-1]))
    spread = "".join(free[:widest][::-1])
    if arrow:
        return operands, result.replace("...", spread)
    joined = "".join(operands)
    return operands, spread + "".join(sorted(x for x in set(joined) - set(spread) if joined.count(x) == 1))


def _is_one(extent: Any) -> bool:
    return isinstance(extent, tirx.IntImm) and int(extent) == 1


def _is_product(left: str, right: str, result: str) -> bool:
    """Whether it is ...ij,...jk->...ik, the letters in any order on the way in."""
    if any(len(set(labels)) != len(labels) for labels in (left, right, result)):
        return False
    batch, depth = _shared(left, right, result)
    rows, columns = set(left) - set(right), set(right) - set(left)
    ordered = result[: len(batch)] == batch and set(result) == set(batch) | rows | columns
    return bool(ordered and len(depth) == len(rows) == len(columns) == 1 and result[-1] in columns)


def _shared(left: str, right: str, result: str) -> tuple[str, str]:
    """The letters in both operands that stay, and those that are summed over."""
    both = [label for label in left if label in right]
    batch = "".join(label for label in result if label in both)
    return batch, "".join(label for label in both if label not in result)


def _as_product(op: Op, left: str, right: str, result: str) -> Result:
    batch, depth = _shared(left, right, result)
    a = _in_order(op, op.x(0), left, batch + result[-2] + depth)
    b = _in_order(op, op.x(1), right, batch + depth + result[-1])
    return matmul(op, a, b)


def _in_order(op: Op, x: relax.Expr, labels: str, wanted: str) -> relax.Expr:
    order = [labels.index(label) for label in wanted]
    return x if order == list(range(len(order))) else op.emit(relax.op.permute_dims(x, order))


EMIT: dict[str, Emit] = {"Einsum": _einsum}
