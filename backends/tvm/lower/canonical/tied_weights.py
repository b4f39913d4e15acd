"""A table that is looked up in one place and, turned over, multiplied by in another is stored once.

It is packed for the product. The look-up reads row v of the table as packed[v // columns, :, v % columns]; that view is
a function of its own, which is fused into whatever reads the table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import ir, relax, te, tirx

from backends.tvm.lower.canonical.rewriter import Rewriter, mutator
from backends.tvm.lower.kernels.call import INJECTIVE, Lowering
from backends.tvm.lower.kernels.matmul import by_packed, pack, tile_for
from backends.tvm.lower.relax_tools import constant, is_float32, op_name

_WORTH_SHARING = 1 << 20  # bytes


def share_tied_weights(mod: tvm.IRModule, at: Lowering) -> tvm.IRModule:
    for place, function in mod.functions_items():
        if isinstance(function, relax.Function):
            pairs = _tied(function)
            if pairs:
                rewriter = _ShareTied(mod, at, pairs)
                rewriter.builder_.update_func(place, rewriter.visit_expr(function))
                mod = rewriter.builder_.get()
    return mod


def _tied(function: relax.Function) -> list[tuple[Any, Any]]:
    """Pairs of a right side of a product, and a table that is the same numbers turned over."""
    sides: list[Any] = []
    tables: list[Any] = []

    def visit(expr: Any) -> None:
        if not isinstance(expr, relax.Call):
            return
        if op_name(expr) == "relax.matmul":
            sides.append(expr.args[1])
            return
        for operand in expr.args:
            tables.extend(operand.fields if isinstance(operand, relax.Tuple) else [operand])

    relax.analysis.post_order_visit(function, visit)
    large = list(filter(_large, tables))
    return [(side, table) for side in filter(_large, sides) for table in large if _turned_over(side, table)]


def _large(expr: Any) -> bool:
    value = constant(expr)
    return value is not None and value.ndim == 2 and is_float32(expr) and value.nbytes >= _WORTH_SHARING


def _turned_over(side: Any, table: Any) -> bool:
    a, b = constant(side), constant(table)
    assert a is not None and b is not None
    return a.shape == b.shape[::-1] and bool(np.array_equal(a[:, 0], b[0])) and bool(np.array_equal(a.T, b))


@mutator
class _ShareTied(Rewriter):
    def __init__(self, mod: tvm.IRModule, at: Lowering, pairs: list[tuple[Any, Any]]) -> None:
        super().__init__(mod)
        self.at = at
        self.pairs = pairs
        self.packed: list[tuple[Any, relax.Expr]] = []

    def rewrite(self, call: relax.Call) -> relax.Expr | None:
        self.at.bb = self.builder_
        if op_name(call) == "relax.matmul":
            side = next((side for side, _ in self.pairs if side.same_as(call.args[1])), None)
            return None if side is None else by_packed(self.at, call.args[0], self._packed(side), side.value.shape[1])
        operands = [self._operand(operand) for operand in call.args]
        if all(new.same_as(old) for new, old in zip(operands, call.args, strict=True)):
            return None
        self._let_fuse(call)
        return relax.Call(call.op, operands, call.attrs, call.ty_args)

    def _operand(self, operand: relax.Expr) -> relax.Expr:
        if isinstance(operand, relax.Tuple):
            fields = [self._operand(field) for field in operand.fields]
            same = all(new.same_as(old) for new, old in zip(fields, operand.fields, strict=True))
            return operand if same else relax.Tuple(fields)
        side = next((side for side, table in self.pairs if table.same_as(operand)), None)
        return operand if side is None else self._unpacked(side)

    def _packed(self, side: Any) -> relax.Expr:
        for known, packed in self.packed:
            if known.same_as(side):
                return packed
        weight = constant(side)
        assert weight is not None
        made = self.at.constant(pack(weight, tile_for(None, weight.shape[1], self.at.machine).columns))
        self.packed.append((side, made))
        return made

    def _unpacked(self, side: Any) -> relax.Expr:
        depth, width = (int(size) for size in side.value.shape)

        def compute(packed: te.Tensor) -> te.Tensor:
            columns = packed.shape[2]
            return te.compute(
                (width, depth), lambda v, k: packed(tirx.floordiv(v, columns), k, tirx.floormod(v, columns)), name="row"
            )

        return self.emit(self.at.call(compute, self._packed(side), name="table", pattern=INJECTIVE))

    def _let_fuse(self, call: relax.Call) -> None:
        """A look-up reads where its indices say. TVM takes that for opaque; yet a producer can be computed in place."""
        if op_name(call) != "relax.call_tir":
            return
        place = call.args[0]
        function = self.builder_.get()[place]
        if isinstance(function, tirx.PrimFunc) and isinstance(place, ir.GlobalVar):
            self.builder_.update_func(place, function.with_attr("op_pattern", INJECTIVE))
