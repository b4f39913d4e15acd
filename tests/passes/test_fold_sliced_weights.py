from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from check import apply, parse, same_numbers

from compiler.ir.store import weight_bytes
from compiler.passes.fold_sliced_weights import FoldSlicedWeights

HEAD = "(float[n,20] x, float[20,30] w) => (float[n,k] y) <int64[1] a = {0}, int64[1] b = {10}, int64[1] c = {-20}, "
HEAD += "int64[1] d = {9223372036854775807}, int64[1] i = {1}> "
GATES = HEAD + "{ u = Slice(w, a, b, i)  v = Slice(w, c, d, i)  p = MatMul(x, u)  q = MatMul(x, v)"
GATES += "  y = Concat<axis = 1>(p, q) }"


def model(text: str) -> ir.Model:
    """With w as a weight."""
    made = parse(text)
    value = made.graph.inputs.pop()
    array = np.random.default_rng(0).standard_normal((20, 30)).astype(np.float32)
    value.const_value = ir.tensor(array, name="w")
    made.graph.register_initializer(value)
    return made


def test_gates_become_weights_of_their_own() -> None:
    before, after = model(GATES), model(GATES)
    size = weight_bytes(after)
    assert apply(FoldSlicedWeights(), after)
    assert [node.op_type for node in after.graph] == ["MatMul", "MatMul", "Concat"]
    assert weight_bytes(after) <= size
    assert not apply(FoldSlicedWeights(), after)
    same_numbers(before, after)


@pytest.mark.parametrize(
    ("graph", "because"),
    [
        (GATES.replace("c = {-20}", "c = {-21}"), "overlap"),
        (
            GATES.replace("q = MatMul(x, v)", "z = MatMul(x, w)  r = MatMul(x, v)  q = Concat<axis = 1>(z, r)"),
            "other users",
        ),
    ],
)
def test_what_stays(graph: str, because: str) -> None:
    instance = FoldSlicedWeights()
    assert not apply(instance, model(graph))
    assert any(because in reason for reason in instance.take_declined())
