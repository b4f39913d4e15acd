"""What becomes of the graph before kernels are chosen."""

from __future__ import annotations

import numpy as np
import pytest
from lowered import Lowered, normal
from tvm import ir, relax


def _names(run: Lowered) -> list[str]:
    return sorted(run.functions)


def test_two_transposes_cancel() -> None:
    def make(bb, x):
        turned = bb.emit(relax.op.permute_dims(x, [0, 2, 1]))
        return relax.op.permute_dims(bb.emit(relax.op.nn.relu(turned)), [0, 2, 1])

    run = Lowered(make, ["b", "s", 16])
    assert _names(run) == ["relu"]
    np.testing.assert_array_equal(run(normal(2, 3, 16)), np.maximum(normal(2, 3, 16), 0))


def test_rows_stay_flat_from_product_to_product() -> None:
    first, second, scale = normal(16, 32), normal(32, 16), normal(32)

    def make(bb, x):
        hidden = bb.emit(relax.op.nn.relu(bb.emit(relax.op.matmul(x, relax.const(first)))))
        hidden = bb.emit(relax.op.nn.layer_norm(hidden, relax.const(scale), relax.const(scale), axes=[-1]))
        return relax.op.add(bb.emit(relax.op.matmul(hidden, relax.const(second))), x)

    run = Lowered(make, ["b", "s", 16])
    assert len(run.functions) == 3
    x = normal(2, 5, 16)
    hidden = np.maximum(x.astype(np.float64) @ first, 0)
    hidden = (hidden - hidden.mean(-1, keepdims=True)) / np.sqrt(hidden.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(run(x), (hidden * scale + scale) @ second + x, rtol=1e-4, atol=1e-4)


def test_rows_that_are_broadcast_keep_their_shape() -> None:
    w = normal(16, 8)

    def make(bb, x, y):
        return relax.op.add(bb.emit(relax.op.matmul(x, relax.const(w))), y)

    run = Lowered(make, [2, 1, 1, 16], [2, 4, 1, 8])
    x, y = normal(2, 1, 1, 16), normal(2, 4, 1, 8)
    np.testing.assert_allclose(run(x, y), x @ w + y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("vocabulary", [50000, 50001])
def test_a_tied_table_is_stored_once(vocabulary: int) -> None:
    table = normal(vocabulary, 16)

    def make(bb, ids, x):
        rows = bb.emit(relax.op.take(relax.const(table), ids, axis=0))
        product = bb.emit(relax.op.matmul(x, relax.const(np.ascontiguousarray(table.T))))
        return relax.op.add(bb.emit(relax.op.sum(product, [1], True)), rows)

    run = Lowered(make, ["n"], ["n", 16], dtypes=["int64", "float32"])
    sizes = [shape.size for shape in _constants(run)]
    assert sum(sizes) < 1.1 * table.size
    ids, x = np.array([0, 17, vocabulary - 1, 17]), normal(4, 16)
    want = (x.astype(np.float64) @ table.T).sum(1, keepdims=True) + table[ids]
    np.testing.assert_allclose(run(ids, x), want, rtol=1e-4, atol=1e-2)


def _constants(run: Lowered) -> list[np.ndarray]:
    found: list = []

    def visit(expr) -> None:
        operands = expr.args if isinstance(expr, relax.Call) else []
        fields = [field for operand in operands for field in getattr(operand, "fields", [operand])]
        for field in fields:
            if isinstance(field, ir.GenericConst) and not any(field.same_as(other) for other in found):
                found.append(field)

    relax.analysis.post_order_visit(run.module["main"], visit)
    return [constant.value.numpy() for constant in found]


def test_equal_kernels_are_compiled_once() -> None:
    weights = [normal(32, 32, seed=seed) for seed in range(4)]

    def make(bb, x):
        for weight in weights:
            x = bb.emit(relax.op.nn.relu(bb.emit(relax.op.matmul(x, relax.const(weight)))))
        return x

    assert len(Lowered(make, ["n", 32]).functions) == 1
