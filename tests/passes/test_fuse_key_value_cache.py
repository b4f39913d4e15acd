"""Keys and values that are appended to a cache go into the operator, which gives the longer cache itself."""

from __future__ import annotations

import numpy as np
import pytest
from check import check_pass, check_unchanged, parse, same_numbers
from hub import hub

from compiler.contracts import Arrays
from compiler.passes import pipeline
from compiler.passes.fuse_key_value_cache import FuseKeyValueCache
from compiler.passes.split_key_value_cache import SplitKeyValueCache

NEW = "float[b,6,s,4] q, float[b,2,s,4] k, float[b,2,s,4] v"
PAST = "float[b,2,p,4] pk, float[b,2,p,4] pv"
OUT = "float[b,6,s,4] y, float[b,2,t,4] keys, float[b,2,t,4] values"
INTERFACE = f"({NEW}, {PAST}, bool[b,1,s,t] m) => ({OUT})"
JOINED = "keys = Concat<axis=2>(pk, k) values = Concat<axis=-2>(pv, v) "
TOGETHER = JOINED.replace("-2", "2")


def inputs(mask: bool = True) -> Arrays:
    random = np.random.default_rng(0)
    shapes = {"q": (2, 6, 3, 4), "k": (2, 2, 3, 4), "v": (2, 2, 3, 4), "pk": (2, 2, 5, 4), "pv": (2, 2, 5, 4)}
    drawn = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return drawn | {"m": random.random((2, 1, 3, 8)) < 0.7} if mask else drawn


@pytest.mark.parametrize("mask", ["", "m"])
def test_a_cache_goes_into_the_operator_and_comes_out_again(mask: str) -> None:
    interface = INTERFACE if mask else INTERFACE.replace(", bool[b,1,s,t] m", "")
    split = f"y = Attention<scale=0.5>(q, keys, values{mask and ', m'})"
    fused = hub(interface, f"y, keys, values = Attention<scale=0.5>(q, k, v, {mask}, pk, pv)")
    check_pass(FuseKeyValueCache(), hub(interface, JOINED + split), fused, inputs(bool(mask)))
    check_pass(SplitKeyValueCache(), fused, hub(interface, TOGETHER + split), inputs(bool(mask)))


@pytest.mark.parametrize(
    ("body", "interface", "because"),
    [
        (JOINED + "y = Attention<is_causal=1>(q, keys, values, m)", INTERFACE, "it is causal from its first key on"),
        (
            JOINED + "y = Attention(q, keys, values, m)",
            INTERFACE.replace("float[b,2,p,4] pv", "float[b,2,r,4] pv"),
            "are not known to have a past of one length",
        ),
        (
            JOINED + "y = Attention(q, keys, values, m) z = Neg(keys)",
            INTERFACE.replace("(float[b,6,s,4] y", "(float[b,2,t,4] z, float[b,6,s,4] y"),
            "'keys' has other users",
        ),
        (
            JOINED + "y, a, c, z = Attention(q, keys, values, m)",
            INTERFACE.replace("(float[b,6,s,4] y", "(float[b,6,s,t] z, float[b,6,s,4] y"),
            "gives its scores",
        ),
    ],
)
def test_refusals(body: str, interface: str, because: str) -> None:
    check_unchanged(FuseKeyValueCache(), hub(interface, body), because)


@pytest.mark.parametrize(
    ("body", "interface"),
    [
        (  # nothing keeps them: what is joined is two kinds of keys
            "a = Concat<axis=2>(pk, k) c = Concat<axis=2>(pv, v) y = Attention(q, a, c, m)",
            f"({NEW}, {PAST}, bool[b,1,s,t] m) => (float[b,6,s,4] y)",
        ),
        (  # the past comes last
            "h = Neg(k) keys = Concat<axis=2>(h, pk) values = Concat<axis=2>(v, pv) y = Attention(q, keys, values, m)",
            INTERFACE,
        ),
        (JOINED.replace("axis=2", "axis=3").replace("axis=-2", "axis=3") + "y = Neg(q)", INTERFACE),
        ("values = Concat<axis=2>(pv, v) keys = Identity(k) y = Attention(q, keys, values, m)", INTERFACE),
    ],
)
def test_what_is_no_cache_is_left_alone(body: str, interface: str) -> None:
    check_unchanged(FuseKeyValueCache(), hub(interface, body))


@pytest.mark.parametrize(
    ("attributes", "interface", "because"),
    [
        ("is_causal=1", INTERFACE, "it is causal"),
        (
            "q_num_heads=6, kv_num_heads=2",
            INTERFACE.replace(NEW, "float[b,s,24] q, float[b,s,8] k, float[b,s,8] v").replace("6,s,4] y", "s,24] y"),
            "its heads are not an axis",
        ),
    ],
)
def test_a_cache_that_stays_inside(attributes: str, interface: str, because: str) -> None:
    body = f"y, keys, values = Attention<{attributes}>(q, k, v, m, pk, pv)"
    check_unchanged(SplitKeyValueCache(), hub(interface, body), because)


def test_attention_of_shared_heads_that_is_spelled_out() -> None:
    """As exporters write it: keys and values are appended, repeated for each head of queries, and multiplied."""
    declared = (
        "int64[1] two = {2}",
        "int64[5] times = {1,1,3,1,1}",
        "int64[4] heads = {0,6,-1,4}",
        "float half = {0.5}",
    )
    repeated = "".join(
        f"{new}1 = Unsqueeze({old}, two) {new}2 = Tile({new}1, times) {new}3 = Reshape({new}2, heads) "
        for new, old in (("k", "keys"), ("v", "values"))
    )
    scores = "kt = Transpose<perm=[0,1,3,2]>(k3) a = MatMul(q, kt) c = Mul(a, half) z = Add(c, bias) "
    text = hub(
        f"({NEW}, {PAST}, float[b,1,s,t] bias) => ({OUT})",
        JOINED + repeated + scores + "w = Softmax<axis=-1>(z) y = MatMul(w, v3)",
        *declared,
    )
    model = parse(text)
    pipeline.run(model)
    assert [node.op_type for node in model.graph] == ["Attention"]
    drawn = inputs(mask=False) | {"bias": np.zeros((2, 1, 3, 8), np.float32)}
    same_numbers(parse(text), model, drawn)
