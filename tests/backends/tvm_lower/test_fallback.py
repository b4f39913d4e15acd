"""What no rule takes is still computed, and the reason is kept."""

from __future__ import annotations

import numpy as np
import pytest
from lowered import Lowered, normal
from tvm import relax

from backends.tvm.lower.kernels import matmul


def test_a_schedule_that_does_not_fit_gives_way_to_the_general_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of 8 rows over 196*b of them: TVM cannot show that they cover all rows."""
    monkeypatch.setattr(matmul, "fitting", lambda rows, tile: matmul.Tile(8, tile.columns))
    w = normal(16, 24)
    run = Lowered(lambda bb, x: relax.op.matmul(x, relax.const(w)), ["b", 196, 16])
    assert run.explain.declined[0].startswith("schedule register tiles of matmul: ")
    x = normal(3, 196, 16)
    np.testing.assert_allclose(run(x), x @ w, rtol=1e-4, atol=1e-5)


def test_a_kernel_that_declines_says_for_which_shapes() -> None:
    run = Lowered(lambda bb, a, b: relax.op.matmul(a, b), ["n", 4], [4, 4], dtypes=["float64", "float64"])
    (reason,) = run.explain.declined
    assert reason.startswith("matmul(")
    assert "float64 is not float32" in reason


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "float64", "bool"])
@pytest.mark.parametrize("shape", [(1,), (7,), (16,), (3, 17), (2, 5, 33)])
def test_other_types_and_odd_sizes(dtype: str, shape: tuple[int, ...]) -> None:
    a = (np.arange(np.prod(shape)).reshape(shape) % 7 > 2).astype(dtype)

    def make(bb, x):
        return relax.op.where(bb.emit(relax.op.equal(x, x)), x, x)

    for extents in (shape, [*"abc"[: len(shape)]]):
        np.testing.assert_array_equal(Lowered(make, extents, dtypes=[dtype])(a), a)


def test_an_empty_tensor() -> None:
    w = normal(4, 8)
    run = Lowered(lambda bb, x: relax.op.matmul(x, relax.const(w)), ["n", 4])
    assert run(np.zeros((0, 4), np.float32)).shape == (0, 8)
