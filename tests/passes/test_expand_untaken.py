from __future__ import annotations

import numpy as np
import pytest
from check import apply, check_unchanged, parse, same_numbers

from backends.tensorrt.passes.expand_untaken import ExpandUntaken

HEADER = '<ir_version: 12, opset_import: ["" : 24]> g '
QKV = "(float[1,2,5,4] q, float[1,2,5,4] k, float[1,2,5,4] v"
NUMBERS = {
    name: np.random.default_rng(seed).standard_normal((1, 2, 5, 4)).astype("f") for seed, name in enumerate("qkv")
}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (QKV + ") => (float[1,2,5,4] y) { y = Attention(q, q, v) }", "query is the key"),
        (QKV + ") => (float[1,2,5,4] y) { y = Attention<softcap = 2.0>(q, k, v) }", "softcap"),
        (
            QKV + ") => (float[1,2,5,4] y) { m = Mul(q, k)  t = Transpose<perm = [0,1,3,2]>(m)  w = MatMul(q, t)"
            "  y = Attention<is_causal = 1>(q, k, v, w) }",
            "not both",
        ),
        (
            QKV + ") => (float[1,2,5,2] y) <int64[2] parts = {2, 2}> "
            "{ a, b = Split<axis = 3>(v, parts)  y = Attention(q, k, a) }",
            "as wide as keys",
        ),
        (
            QKV + ") => (float[1,2,5,4] y, float[1,2,10,4] p) { y, p = Attention(q, k, v, , k, v) }",
            "from call to call",
        ),
    ],
    ids=["query is key", "softcap", "causal and masked", "narrow values", "past"],
)
def test_attention_that_tensorrt_does_not_take(text: str, reason: str) -> None:
    model = parse(HEADER + text)
    before = model.clone()
    instance = ExpandUntaken()
    assert apply(instance, model)
    assert any(reason in declined for declined in instance.take_declined())
    assert "Attention" not in {node.op_type for node in model.graph}
    assert not apply(ExpandUntaken(), model)
    same_numbers(before, model, {name: NUMBERS[name] for name in "qkv"})


def test_a_layer_normalization_whose_mean_is_read() -> None:
    text = "(float[2,3] x, float[3] w) => (float[2,3] y, float[2,1] mean) { y, mean = LayerNormalization(x, w) }"
    model = parse(HEADER + text)
    before = model.clone()
    assert apply(ExpandUntaken(), model)
    assert "LayerNormalization" not in {node.op_type for node in model.graph}
    same_numbers(before, model, None)


@pytest.mark.parametrize(
    "text",
    [
        QKV + ", float[5,5] m) => (float[1,2,5,4] y) { y = Attention(q, k, v, m) }",
        QKV + ") => (float[1,2,5,4] y) { y = Attention<is_causal = 1, softcap = 0.0>(q, k, v) }",
        "(float[2,3] x, float[3] w) => (float[2,3] y) { y = LayerNormalization(x, w) }",
    ],
    ids=["masked", "causal", "normalization"],
)
def test_what_tensorrt_takes_stays(text: str) -> None:
    check_unchanged(ExpandUntaken(), HEADER + text)
