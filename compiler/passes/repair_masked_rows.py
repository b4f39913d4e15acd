"""A guard against NaN behind a Softmax means that its mask is -inf: see compiler/ir/masked_rows.py.

A model that comes as .onnx is repaired when it is read, so that its reference answers are those of the repaired graph;
this pass is for graphs that come by another way.
"""

from __future__ import annotations

import onnx_ir as ir

from compiler.ir.masked_rows import restore_masked_rows


class RepairMaskedRows(ir.passes.InPlacePass):
    """Where(m, 0, lowest) becomes Where(m, 0, -inf)."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        return ir.passes.PassResult(model, bool(restore_masked_rows(model)))
