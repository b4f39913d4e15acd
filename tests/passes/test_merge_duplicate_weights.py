from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from check import apply, check_pass, check_unchanged, parse

from compiler.ir.store import weight_bytes
from compiler.passes.merge_duplicate_weights import MergeDuplicateWeights

TWO = "(float[2] x) => (float[2] y) <{0}, {1}> {{ t = Add(x, a)  y = Mul(t, b) }}"


def with_weights(**tensors: np.ndarray) -> ir.Model:
    """y = x + the weights, one after the other, whatever their values are."""
    (first, *_) = tensors.values()
    kind = f"float[{','.join(map(str, first.shape))}]" if first.shape else "float"
    steps = "  ".join(f"t{number + 1} = Add(t{number}, {name})" for number, name in enumerate(tensors))
    parameters = ", ".join(f"{kind} {name}" for name in ("x", *tensors))
    model = parse(f"({parameters}) => ({kind} y) {{ t0 = Neg(x)  {steps}  y = Neg(t{len(tensors)}) }}")
    for value in list(model.graph.inputs)[1:]:
        model.graph.inputs.remove(value)
        value.const_value = ir.tensor(tensors[str(value.name)], name=value.name)
        model.graph.register_initializer(value)
    return model


def test_equal_weights_become_one() -> None:
    check_pass(
        MergeDuplicateWeights(),
        TWO.format("float[2] a = {1, 2}", "float[2] b = {1, 2}"),
        "(float[2] x) => (float[2] y) <float[2] a = {1, 2}> { t = Add(x, a)  y = Mul(t, a) }",
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("float[2] a = {1, 2}", "float[2] b = {1, 3}"),
        ("float[2] a = {1, 1}", "float[1] b = {1}"),
        ("float[2] a = {0, 0}", "float[2] b = {-0, 0}"),
    ],
    ids=["values", "shapes", "sign of zero"],
)
def test_weights_that_differ_stay_two(one: str, other: str) -> None:
    check_unchanged(MergeDuplicateWeights(), TWO.format(one, other))


def test_equal_bits_of_another_type_stay_two() -> None:
    check_unchanged(
        MergeDuplicateWeights(),
        "(float[2] x) => (float[2] y, int32[2] z) <float[2] a = {0, 0}, int32[2] b = {0, 0}> "
        "{ y = Add(x, a)  i = Cast<to = 6>(x)  z = Add(i, b) }",
    )


def test_nan_weights_merge_bit_by_bit() -> None:
    nan = np.array([np.nan, 1], np.float32)
    model = with_weights(a=nan, b=nan.copy())
    assert apply(MergeDuplicateWeights(), model)
    assert list(model.graph.initializers) == ["a"]


@pytest.mark.parametrize("place", [0, 1, 77_777, 99_999])
def test_large_weights_that_differ_in_one_element_anywhere_stay_two(place: int) -> None:
    one = np.zeros(100_000, np.float32)
    other = one.copy()
    other[place] = 1e-45
    model = with_weights(a=one, b=other, c=one.copy())
    assert apply(MergeDuplicateWeights(), model)
    assert list(model.graph.initializers) == ["a", "b"]


def test_many_equal_weights_become_one() -> None:
    model = with_weights(**{f"w{number}": np.ones(1000, np.float32) for number in range(50)})
    assert apply(MergeDuplicateWeights(), model)
    assert weight_bytes(model) == 4000
    assert not apply(MergeDuplicateWeights(), model)


def test_empty_and_single_weights_merge() -> None:
    for shape in ((0,), ()):
        model = with_weights(a=np.ones(shape, np.float32), b=np.ones(shape, np.float32))
        assert apply(MergeDuplicateWeights(), model)
        assert len(model.graph.initializers) == 1


def test_a_weight_that_is_an_output_keeps_its_name() -> None:
    check_unchanged(
        MergeDuplicateWeights(),
        "(float[2] x) => (float[2] y, float[2] b) <float[2] a = {1, 2}, float[2] b = {1, 2}> { y = Add(x, a) }",
    )


def test_a_default_of_an_input_is_no_weight() -> None:
    check_unchanged(
        MergeDuplicateWeights(),
        "(float[2] x, float[2] b = {1, 2}) => (float[2] y) <float[2] a = {1, 2}> { t = Add(x, a)  y = Mul(t, b) }",
    )


def test_a_use_inside_a_branch_follows() -> None:
    check_pass(
        MergeDuplicateWeights(),
        """(float[2] x, bool flag) => (float[2] y) <float[2] a = {1, 2}, float[2] b = {1, 2}> {
            t = Add(x, a)  y = If(flag) <
            then_branch = g () => (float[2] p) { p = Add(t, b) },
            else_branch = h () => (float[2] q) { q = Neg(t) }> }""",
        """(float[2] x, bool flag) => (float[2] y) <float[2] a = {1, 2}> {
            t = Add(x, a)  y = If(flag) <
            then_branch = g () => (float[2] p) { p = Add(t, a) },
            else_branch = h () => (float[2] q) { q = Neg(t) }> }""",
    )
