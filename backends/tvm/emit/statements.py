"""Kernels that are written as statements, for what is no formula of one element."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import relax, te, tirx

from backends.tvm.emit.extents import expression
from backends.tvm.emit.op import Op

Buffers = Sequence[Any]
Body = Callable[[Buffers, Buffers], None]


def filling(op: Op, body: Body, outputs: Sequence[tuple[list[Any], str]], *inputs: relax.Expr) -> list[relax.Var]:
    """A kernel in the form of statements; `body(inputs, outputs)` writes them."""

    def kernel(ins: Any, outs: Any) -> Any:
        from tvm.script.ir_builder import IRBuilder
        from tvm.script.ir_builder import tirx as T

        with IRBuilder() as builder:
            with T.seq_scope():
                body(ins, outs)
            return builder.get()

    def compute(shapes: list[list[Any]], *tensors: te.Tensor) -> Any:
        buffers = [
            tirx.decl_buffer(shape, dtype, f"filled{place}", layout=None)
            for place, (shape, (_, dtype)) in enumerate(zip(shapes, outputs, strict=True))
        ]
        dtypes = [dtype for _, dtype in outputs]
        name = op.type.lower()
        return te.extern(shapes, list(tensors), kernel, dtype=dtypes, out_buffers=buffers, name=name)

    shapes = [[expression(extent) for extent in shape] for shape, _ in outputs]
    made = op.te(compute, shapes, *inputs)
    return [made] if len(outputs) == 1 else [op.emit(relax.TupleGetItem(made, at)) for at in range(len(outputs))]
