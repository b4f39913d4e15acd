"""Repeated heads of keys and values go where the operator shares them itself."""

from __future__ import annotations

import numpy as np
import pytest
from check import check_pass, check_unchanged
from hub import hub

from compiler.passes.fuse_repeated_heads import FuseRepeatedHeads

QKV = "float[2,6,q,4] q, float[2,2,s,4] k, float[2,2,s,4] v"
INTERFACE = f"({QKV}, int64[5] e, int64[5] e2, bool[q,s] m) => (float[2,6,q,4] y)"
CONSTANTS = (
    "int64[1] heads = {2}",
    "int64[1] batch = {1}",
    "int64[4] joined = {2, 6, -1, 4}",
    "int64[4] joined2 = {2, 4, -1, 4}",
    "int64[5] times = {1, 1, 3, 1, 1}",
    "float[2,2,1,s,4] k1",
    "float[2,2,1,s,4] v1",
    "float[2,1,2,s,4] w1",
    "float[2,2,3,s,4] k2",
    "float[2,2,3,s,4] v2",
    "float[2,3,2,s,4] w2",
    "float[2,2,2,s,4] u2",
    "float[2,6,s,4] k3",
    "float[2,6,s,4] v3",
    "float[2,4,s,4] u3",
)
KEYS = "k1 = Unsqueeze(k, heads) k2 = Expand(k1, e) k3 = Reshape(k2, joined) "
VALUES = "v1 = Unsqueeze(v, heads) v2 = Expand(v1, e) v3 = Reshape(v2, joined) "


def graph(body: str, interface: str = INTERFACE) -> str:
    return hub(interface, body, *CONSTANTS)


@pytest.mark.parametrize(
    "keys",
    [
        KEYS,
        KEYS.replace("Expand(k1, e)", "Tile(k1, times)"),
    ],
)
@pytest.mark.parametrize("mask", ["", ", m"])
def test_keys_and_values_are_shared(keys: str, mask: str) -> None:
    random = np.random.default_rng(0)
    inputs = {name: random.standard_normal((2, 2, 3, 4)).astype(np.float32) for name in "kv"}
    inputs["q"] = random.standard_normal((2, 6, 5, 4)).astype(np.float32)
    inputs["e"] = inputs["e2"] = np.array([2, 2, 3, 3, 4])
    inputs["m"] = np.ones((5, 3), np.bool_)
    before = graph(keys + VALUES + f"y = Attention<scale=0.5>(q, k3, v3{mask})")
    check_pass(FuseRepeatedHeads(), before, graph(f"y = Attention<scale=0.5>(q, k, v{mask})"), inputs)


def test_repetitions_that_others_use_stay() -> None:
    interface = f"({QKV}, int64[5] e) => (float[2,6,q,4] y, float[2,6,s,4] z)"
    before = graph(KEYS + VALUES + "y = Attention<scale=0.5>(q, k3, v3) z = Neg(k3)", interface)
    after = graph(KEYS + "y = Attention<scale=0.5>(q, k, v) z = Neg(k3)", interface)
    inputs = {name: np.ones((2, 2, 3, 4), np.float32) for name in "kv"}
    inputs |= {"q": np.ones((2, 6, 5, 4), np.float32), "e": np.array([2, 2, 3, 3, 4])}
    check_pass(FuseRepeatedHeads(), before, after, inputs)


@pytest.mark.parametrize(
    ("body", "because"),
    [
        (KEYS + "y = Attention(q, k3, v)", "are not repeated as often"),
        (
            KEYS + "v1 = Unsqueeze(v, heads) u2 = Expand(v1, e2) u3 = Reshape(u2, joined2) y = Attention(q, k3, u3)",
            "are not repeated as often",
        ),
        (KEYS + VALUES + "y, pk, pv = Attention(q, k3, v3)", "its cache is of repeated heads"),
    ],
)
def test_refusals(body: str, because: str) -> None:
    check_unchanged(FuseRepeatedHeads(), graph(body), because)


def test_heads_that_are_repeated_as_a_whole_are_other_heads() -> None:
    """k0 k1 k0 k1 is not k0 k0 k1 k1."""
    keys = "w1 = Unsqueeze(k, batch) w2 = Expand(w1, e2) k3 = Reshape(w2, joined) "
    check_unchanged(FuseRepeatedHeads(), graph(keys + "y = Attention(q, k3, k3)"))
