"""Attention against float64: lengths around the tiles, masks, causality, grouped heads, rows without any key."""

from __future__ import annotations

import numpy as np
import pytest
from lowered import Lowered, normal
from tvm import relax

LENGTHS = (1, 7, 16, 31, 32, 33, 64, 65, 130)


def _attention(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, bias: np.ndarray | None, scale: float, causal: bool
) -> np.ndarray:
    group = q.shape[2] // k.shape[2]
    k, v = np.repeat(k, group, 2).astype(np.float64), np.repeat(v, group, 2).astype(np.float64)
    scores = np.einsum("bihd,bjhd->bhij", q.astype(np.float64), k) * scale
    scores = scores if bias is None else scores + bias
    if causal:
        scores = np.where(np.arange(scores.shape[3]) <= np.arange(scores.shape[2])[:, None], scores, -np.inf)
    peak = scores.max(-1, keepdims=True)
    powers = np.exp(scores - np.where(np.isneginf(peak), 0, peak))
    total = powers.sum(-1, keepdims=True)
    return np.einsum("bhij,bjhd->bihd", powers / np.where(total == 0, 1, total), v)


def _run(
    heads: int = 2, kv_heads: int = 2, size: int = 16, width: int = 16, bias: tuple | None = None, causal: bool = False
) -> Lowered:
    shapes: list = [["b", "s", heads, size], ["b", "t", kv_heads, size], ["b", "t", kv_heads, width]]
    shapes += [list(bias)] if bias else []

    def make(bb, q, k, v, *mask):
        return relax.op.nn.attention(q, k, v, mask[0] if mask else None, 0.3, "TopLeft" if causal else None)

    run = Lowered(make, *shapes)
    assert not run.explain.declined
    return run


def _check(run: Lowered, q: np.ndarray, k: np.ndarray, v: np.ndarray, bias=None, causal: bool = False) -> np.ndarray:
    got = run(q, k, v, *([] if bias is None else [bias]))
    want = _attention(q, k, v, bias, 0.3, causal)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-6 * np.abs(v).max())
    return got


@pytest.mark.parametrize("causal", [False, True])
def test_any_number_of_queries_and_keys(causal: bool) -> None:
    run = _run(causal=causal)
    for queries in LENGTHS:
        for keys in LENGTHS:
            q, k, v = normal(2, queries, 2, 16), normal(2, keys, 2, 16, seed=1), normal(2, keys, 2, 16, seed=2)
            _check(run, q, k, v, causal=causal)


@pytest.mark.parametrize(
    ("heads", "kv_heads", "size", "width"), [(4, 2, 8, 32), (8, 1, 64, 64), (3, 3, 5, 48), (2, 2, 80, 16)]
)
def test_heads(heads: int, kv_heads: int, size: int, width: int) -> None:
    run = _run(heads, kv_heads, size, width)
    _check(
        run, normal(2, 37, heads, size), normal(2, 37, kv_heads, size, seed=1), normal(2, 37, kv_heads, width, seed=2)
    )


@pytest.mark.parametrize(
    "shape", [("b", 2, "s", "t"), ("b", 1, "s", "t"), (1, 1, "s", "t"), ("b", 1, 1, "t"), (1, 2, "s", "t")]
)
@pytest.mark.parametrize("causal", [False, True])
def test_bias(shape: tuple, causal: bool) -> None:
    run = _run(bias=shape, causal=causal)
    for b, s, t in ((2, 33, 70), (1, 1, 5), (3, 32, 1)):
        sizes = {"b": b, "s": s, "t": t}
        bias = normal(*[sizes.get(n, n) for n in shape], seed=3)
        bias[np.random.default_rng(0).random(bias.shape) < 0.3] = -np.inf
        q, k, v = normal(b, s, 2, 16), normal(b, t, 2, 16, seed=1), normal(b, t, 2, 16, seed=2)
        _check(run, q, k, v, bias, causal)


def test_a_query_without_any_key_is_zero() -> None:
    run = _run(bias=("b", 1, "s", "t"))
    bias = np.zeros((1, 1, 40, 70), np.float32)
    bias[0, 0, 3] = -np.inf
    got = _check(run, normal(1, 40, 2, 16), normal(1, 70, 2, 16, seed=1), normal(1, 70, 2, 16, seed=2), bias)
    assert (got[0, 3] == 0).all()


def test_nan_is_not_hidden() -> None:
    run = _run()
    q, k, v = normal(1, 20, 2, 16), normal(1, 70, 2, 16, seed=1), normal(1, 70, 2, 16, seed=2)
    q[0, 4, 1, 3] = np.nan
    got = run(q, k, v)
    assert np.isnan(got[0, 4, 1]).all()
    assert np.isfinite(np.delete(got, 4, axis=1)).all()


def test_large_scores_do_not_overflow() -> None:
    run = _run()
    q, k, v = 100 * normal(1, 20, 2, 16), 100 * normal(1, 20, 2, 16, seed=1), normal(1, 20, 2, 16, seed=2)
    got = run(q, k, v)
    assert np.isfinite(got).all()
    assert np.abs(got).max() <= np.abs(v).max() * (1 + 1e-5)


def test_heads_that_are_no_multiple_of_a_vector() -> None:
    def make(bb, q, k, v):
        return relax.op.nn.attention(q, k, v, None, 0.3)

    run = Lowered(make, ["b", "s", 2, 10], ["b", "t", 2, 10], ["b", "t", 2, 10])
    assert not run.explain.declined
    q, k, v = normal(2, 9, 2, 10), normal(2, 11, 2, 10, seed=1), normal(2, 11, 2, 10, seed=2)
    np.testing.assert_allclose(run(q, k, v), _attention(q, k, v, None, 0.3, False), rtol=1e-5, atol=1e-5)


def test_layers_with_one_mask_turn_it_over_once() -> None:
    def make(bb, q, mask):
        first = bb.emit(relax.op.nn.attention(q, q, q, mask, 0.3))
        return relax.op.nn.attention(first, first, first, mask, 0.3)

    run = Lowered(make, ["b", "s", 2, 16], ["b", 1, "s", "s"])
    assert run.module.script().count("cls.turned_bias") == 1
