"""Softmax and the normalizations over the last axis, against float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from lowered import Lowered, close, normal
from tvm import relax

LENGTHS = (1, 2, 7, 15, 16, 17, 32, 33, 100, 384)


def _softmax(x: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        powers = np.exp(x - x.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True)


@pytest.mark.parametrize("length", [*LENGTHS, "k"])
def test_softmax(length: int | str) -> None:
    run = Lowered(lambda bb, x: relax.op.nn.softmax(x, -1), ["n", 3, length])
    assert not run.explain.declined
    for size in LENGTHS if length == "k" else [length]:
        x = 4 * normal(5, 3, int(size))
        np.testing.assert_allclose(run(x), _softmax(x.astype(np.float64)), rtol=4e-6, atol=1e-37)


def test_softmax_of_infinities() -> None:
    x = np.array([[-np.inf] * 4, [0, -np.inf, 0, 0], [np.inf, 0, 0, 0], [np.nan, 0, 0, 0], [1e38, -1e38, 0, 1e38]])
    run = Lowered(lambda bb, x: relax.op.nn.softmax(x, -1), ["n", 4])
    np.testing.assert_allclose(run(x.astype(np.float32)), _softmax(x), rtol=1e-6)


def _layer_norm(x: np.ndarray, scale: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * scale + bias


def _rms_norm(x: np.ndarray, scale: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * scale


def _make_layer_norm(x: relax.Expr, scale: relax.Expr, bias: relax.Expr) -> relax.Expr:
    return relax.op.nn.layer_norm(x, scale, bias, axes=[-1], epsilon=1e-5)


def _make_rms_norm(x: relax.Expr, scale: relax.Expr, bias: relax.Expr) -> relax.Expr:
    return relax.op.nn.rms_norm(x, scale, axes=[-1], epsilon=1e-5)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(("make", "true"), [(_make_layer_norm, _layer_norm), (_make_rms_norm, _rms_norm)])
def test_norm(make: Callable, true: Callable, length: int) -> None:
    scale, bias = normal(length, seed=1), normal(length, seed=2)
    run = Lowered(lambda bb, x: make(x, relax.const(scale), relax.const(bias)), ["b", "s", length])
    assert not run.explain.declined
    for shape in ((1, 1), (3, 5)):
        x = 3 * normal(*shape, length) + 1
        # One element: the variance is 0 and 1/sqrt(1e-5) magnifies the rounding of the mean.
        close(run(x), true(x.astype(np.float64), scale, bias), terms=max(length, 1000))


def test_a_large_mean_costs_no_accuracy() -> None:
    ones, zeros = np.ones(384, np.float32), np.zeros(384, np.float32)
    run = Lowered(lambda bb, x: _make_layer_norm(x, relax.const(ones), relax.const(zeros)), [4, 384])
    x = (normal(4, 384) + 1000).astype(np.float32)
    np.testing.assert_allclose(run(x), _layer_norm(x.astype(np.float64), ones, zeros), atol=3e-4)


def test_what_follows_is_part_of_the_row() -> None:
    run = Lowered(lambda bb, x, y: relax.op.add(bb.emit(relax.op.nn.softmax(x, -1)), y), ["n", 64], ["n", 64])
    assert len(run.functions) == 1
    x, y = normal(9, 64), normal(9, 64, seed=1)
    close(run(x, y), _softmax(x.astype(np.float64)) + y)
