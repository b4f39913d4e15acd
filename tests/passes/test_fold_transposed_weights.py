from __future__ import annotations

import numpy as np
import onnx_ir as ir
from check import apply, check_pass, check_unchanged, parse, same_numbers

from compiler.ir.store import weight_bytes
from compiler.passes.fold_transposed_weights import FoldTransposedWeights

W = "float[2, 3] w = {1, 2, 3, 4, 5, 6}"
FOLDED = "float[3, 2] w = {1, 4, 2, 5, 3, 6}"


def test_a_transposed_weight_is_stored_transposed() -> None:
    model = check_pass(
        FoldTransposedWeights(),
        f"(float[n,3] x) => (float[n,2] y) <{W}> {{ t = Transpose<perm = [1, 0]>(w)  y = MatMul(x, t) }}",
        f"(float[n,3] x) => (float[n,2] y) <{FOLDED}> {{ y = MatMul(x, w) }}",
    )
    assert list(model.graph.initializers) == ["w"]  # the name that the user knows it by


def test_without_perm_all_axes_are_reversed() -> None:
    check_pass(
        FoldTransposedWeights(),
        f"(float[n,3] x) => (float[n,2] y) <{W}> {{ t = Transpose(w)  y = MatMul(x, t) }}",
        f"(float[n,3] x) => (float[n,2] y) <{FOLDED}> {{ y = MatMul(x, w) }}",
    )


def test_any_permutation() -> None:
    values = ", ".join(map(str, range(24)))
    moved = ", ".join(str(value) for value in np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1).ravel())
    check_pass(
        FoldTransposedWeights(),
        f"(float[4,2,3] x) => (float[4,2,3] y) <float[2,3,4] w = {{{values}}}> "
        "{ t = Transpose<perm = [2, 0, 1]>(w)  y = Add(x, t) }",
        f"(float[4,2,3] x) => (float[4,2,3] y) <float[4,2,3] w = {{{moved}}}> {{ y = Add(x, w) }}",
    )


def test_two_transposes_one_after_the_other() -> None:
    model = parse(f"(float[2,3] x) => (float[2,3] y) <{W}> {{ t = Transpose(w)  u = Transpose(t)  y = Add(x, u) }}")
    before = model.clone()
    assert apply(FoldTransposedWeights(), model)
    assert [node.op_type for node in model.graph] == ["Add"]
    same_numbers(before, model)


def test_the_bytes_are_not_made_before_they_are_needed() -> None:
    model = parse(f"(float[n,3] x) => (float[n,2] y) <{W}> {{ t = Transpose(w)  y = MatMul(x, t) }}")
    size = weight_bytes(model)
    apply(FoldTransposedWeights(), model)
    tensor = model.graph.initializers["w"].const_value
    assert isinstance(tensor, ir.LazyTensor)
    assert weight_bytes(model) == size
    assert tensor.numpy().flags.c_contiguous


def test_a_shared_weight_is_not_stored_twice() -> None:
    check_unchanged(
        FoldTransposedWeights(),
        f"(float[n,3] x, float[2,3] z) => (float[n,2] y, float[2,3] v) <{W}> "
        "{ t = Transpose(w)  y = MatMul(x, t)  v = Add(z, w) }",
        because="'w' has other users",
    )


def test_a_weight_that_a_branch_also_uses_stays() -> None:
    check_unchanged(
        FoldTransposedWeights(),
        f"""(float[2,3] x, bool flag) => (float[3,2] y, float[2,3] z) <{W}> {{ y = Transpose(w)  z = If(flag) <
            then_branch = a () => (float[2,3] p) {{ p = Add(x, w) }},
            else_branch = b () => (float[2,3] q) {{ q = Neg(x) }}> }}""",
        because="other users",
    )


def test_a_weight_that_is_an_output_stays() -> None:
    check_unchanged(
        FoldTransposedWeights(),
        f"(float[n,3] x) => (float[n,2] y, float[2,3] w) <{W}> {{ t = Transpose(w)  y = MatMul(x, t) }}",
        because="other users",
    )


def test_a_result_that_is_an_output_stays() -> None:
    check_unchanged(
        FoldTransposedWeights(),
        f"(float[n,3] x) => (float[n,2] y, float[3,2] t) <{W}> {{ t = Transpose(w)  y = MatMul(x, t) }}",
        because="an output of the model",
    )


def test_what_is_no_weight_stays() -> None:
    check_unchanged(FoldTransposedWeights(), "(float[2,3] x) => (float[3,2] y) { t = Transpose(x)  y = Relu(t) }")


def test_a_default_of_an_input_stays() -> None:
    check_unchanged(
        FoldTransposedWeights(),
        "(float[2] x, float[1,2] w = {1, 2}) => (float[2,2] y) { t = Transpose(w)  y = Add(x, t) }",
    )
