from __future__ import annotations

import pytest
from check import check_pass, check_unchanged

from compiler.passes.fold_bias_adds import FoldBiasAdds

HEAD = "(float[n,2] x) => (float[n,3] y) <float[2,3] w = {1, 2, 3, 4, 5, 6}, "


def test_the_bias_becomes_the_third_input() -> None:
    bias = "float[3] b = {1, 2, 3}"
    check_pass(
        FoldBiasAdds(), HEAD + bias + "> { t = MatMul(x, w)  y = Add(b, t) }", HEAD + bias + "> { y = Gemm(x, w, b) }"
    )


@pytest.mark.parametrize(
    ("graph", "because"),
    [
        (HEAD + "float b = {1}> { t = MatMul(x, w)  y = Add(t, b) }", "not one row"),
        (HEAD + "float[3] b = {1, 2, 3}> { t = MatMul(x, w)  u = Add(t, b)  y = Add(t, u) }", "other users"),
        ("(float[n,4,2] x) => (float[n,4,3] y) <float[2,3] w = {1, 2, 3, 4, 5, 6}, float[3] b = {1, 2, 3}>"
         " { t = MatMul(x, w)  y = Add(t, b) }", None),
        ("(int32[n,2] x) => (int32[n,3] y) <int32[2,3] w = {1, 2, 3, 4, 5, 6}, int32[3] b = {1, 2, 3}>"
         " { t = MatMul(x, w)  y = Add(t, b) }", None),
    ],
)  # fmt: skip
def test_what_stays(graph: str, because: str | None) -> None:
    check_unchanged(FoldBiasAdds(), graph, because)
