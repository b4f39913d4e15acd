"""Probes: ordinary inputs, changed in one respect."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.contracts import Array, Arrays
from compiler.frontend.probes import probes
from compiler.frontend.program import InputRange
from compiler.frontend.reference import ReferencePlan
from compiler.frontend.specs import parse


def probed(*texts: str, **ranges: InputRange) -> dict[str, Arrays]:
    plan = ReferencePlan(parse(texts).tensors, ranges)
    return dict(probes(plan.specs, plan.ranges, plan.inputs({}, 0)))


def usual(*texts: str, **ranges: InputRange) -> Arrays:
    return ReferencePlan(parse(texts).tensors, ranges).inputs({}, 0)


def test_a_float_gets_every_special_value_in_one_element() -> None:
    before = usual("x:float32[2,3]", "y:float32[]")
    found = probed("x:float32[2,3]", "y:float32[]")
    for name in ("x", "y"):
        for word, is_so in (("NaN", np.isnan), ("+Inf", np.isposinf), ("-Inf", np.isneginf)):
            changed = found[f"{word} in {name}"]
            assert int(is_so(changed[name]).sum()) == 1
            other = "y" if name == "x" else "x"
            np.testing.assert_array_equal(changed[other], before[other])
    assert np.isneginf(found["a row of -Inf in x"]["x"][0]).all()
    assert np.isfinite(found["a row of -Inf in x"]["x"][1:]).all()
    assert "a row of -Inf in y" not in found


def test_ties_and_denormals_are_of_all_floats() -> None:
    found = probed("x:float32[20,20]", "y:float16[20,20]")
    assert len(np.unique(found["ties"]["x"])) < 10
    for name, tiny in (("x", np.float32), ("y", np.float16)):
        small = np.abs(found["denormals"][name])
        assert 0 < small.max() < np.finfo(tiny).smallest_normal


@pytest.mark.parametrize("dtype", ["int64", "bool", "int32"])
def test_a_mask_loses_a_row_and_everything(dtype: str) -> None:
    found = probed(f"mask:{dtype}[3,5]")

    def mask(probe: str) -> Array:
        return found[f"{probe} mask"]["mask"].astype(np.int64)

    assert mask("nothing in a row of")[0].sum() == 0
    assert (mask("nothing in a row of")[1:, 0] == 1).all()
    assert mask("only the first in a row of")[0].tolist() == [1, 0, 0, 0, 0]
    assert mask("nothing at all in").sum() == 0
    assert ("beyond 32 bits in mask" in found) == (dtype == "int64")


def test_an_integer_beyond_32_bits_is_one_that_32_bits_cannot_hold() -> None:
    changed = probed("n:int64[4]")["beyond 32 bits in n"]["n"]
    assert changed.max() > 2**32
    assert 0 < changed.max() % 2**32 < 10


def test_an_index_and_what_the_program_draws_are_left_alone() -> None:
    assert probed("ids:int64[4,5]", ids=InputRange(0, 9)) == {}
    assert probed("noise:float32[4,5]", noise=InputRange(0, 1, noise=True)) == {}


def test_nothing_can_be_changed_in_nothing() -> None:
    assert probed("x:float32[0,3]") == {}


def test_the_ordinary_inputs_are_not_touched() -> None:
    plan = ReferencePlan(parse(["x:float32[2,3]", "mask:bool[2,3]"]).tensors, {})
    inputs = plan.inputs({}, 0)
    before = {name: array.copy() for name, array in inputs.items()}
    list(probes(plan.specs, {}, inputs))
    for name, array in before.items():
        np.testing.assert_array_equal(inputs[name], array)
