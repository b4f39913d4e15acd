"""TVM's own faults without plumbline, as docs/backends/known-issues.md tells them. One that is gone fails the run."""

from __future__ import annotations

from typing import Any

import pytest
import tvm
from tvm import relax, s_tir, te, tirx


def test_a_transposition_of_a_dim_less_one_cannot_be_told_from_a_reshape() -> None:
    h = tirx.Var("h", "int64")
    one, two, three, seven = (tirx.IntImm("int64", size) for size in (1, 2, 3, 7))
    x = te.placeholder((one, three, two, h - 1, two, seven), name="x")
    y = te.compute((one, three, two, two, h - 1, seven), lambda a, b, c, d, e, f: x[a, b, c, e, d, f], name="y")
    with pytest.raises(tvm.error.InternalError, match="CanProveDivisible"):
        relax.analysis.has_reshape_pattern(te.create_prim_func([x, y]))


def test_a_product_of_floats_with_a_dim_in_it_does_not_build() -> None:
    h = tirx.Var("h", "int64")
    x = te.placeholder((h,), name="x")

    def element(i: Any) -> Any:
        place = i.astype("float32") * h.astype("float32")
        return x[i] * (place - tirx.floor(place))

    function = te.create_prim_func([x, te.compute((h,), element, name="y")])
    with pytest.raises(ValueError, match="IntImm supports only int"):
        tvm.compile(tvm.IRModule({"main": function}), target="llvm")


def test_a_place_in_fused_loops_that_is_divided_again_does_not_build() -> None:
    n, m = tirx.Var("n", "int64"), tirx.Var("m", "int64")
    x = te.placeholder((n, m), name="x")
    y = te.compute((n, 2 * m - 1), lambda i, j: x[i, j // 2], name="y")
    schedule = s_tir.Schedule(tvm.IRModule({"main": te.create_prim_func([x, y])}))
    schedule.fuse(*schedule.get_loops(schedule.get_sblock("y")))
    with pytest.raises(tvm.error.InternalError, match="CanProveDivisible"):
        tvm.compile(schedule.mod, target="llvm")
