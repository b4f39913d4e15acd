"""A step that is used several times by the next is not written out again and again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from lowered import Lowered, close, module, normal
from tvm import relax, tirx

from backends.tvm.explain import Explain
from backends.tvm.lower import pipeline, plain
from backends.tvm.target import machine

_STEPS = 4


def _chain(bb: relax.BlockBuilder, x: Any, steps: int) -> Any:
    for _ in range(steps):  # x * x / (1 + x * x): each step is read three times by the next
        square = bb.emit(relax.op.multiply(x, x))
        x = bb.emit(relax.op.divide(square, bb.emit(relax.op.add(square, relax.const(np.float32(1))))))
    return x


def _wanted(x: np.ndarray, steps: int) -> np.ndarray:
    for _ in range(steps):
        x = x * x / (x * x + 1)
    return x


_W = normal(32, 32)
_STARTS = {
    "elements": lambda bb, x: x,
    "a product": lambda bb, x: bb.emit(relax.op.matmul(x, relax.const(_W))),
    "rows": lambda bb, x: bb.emit(relax.op.nn.softmax(x)),
}


def _length(lowered: tvm.IRModule) -> int:
    """Of all kernels, written out."""
    kernels = (function for _, function in lowered.functions_items() if isinstance(function, tirx.PrimFunc))
    return sum(len(kernel.script()) for kernel in kernels)


def _lowered(start: str, steps: int, how: Any = pipeline) -> tvm.IRModule:
    chain = module(lambda bb, x: _chain(bb, _STARTS[start](bb, x), steps), [8, 32])
    return how.lower(chain, machine({"threads": 2}), Explain())


@pytest.mark.parametrize("start", _STARTS)
def test_a_kernel_grows_with_its_steps(start: str) -> None:
    assert _length(_lowered(start, 2 * _STEPS)) < 3 * _length(_lowered(start, _STEPS))


def test_so_does_one_that_is_lowered_plainly() -> None:
    assert _length(_lowered("elements", 2 * _STEPS, plain)) < 3 * _length(_lowered("elements", _STEPS, plain))


@pytest.mark.parametrize("start", ["elements", "a product"])
def test_what_is_kept_is_right(start: str) -> None:
    run = Lowered(lambda bb, x: _chain(bb, _STARTS[start](bb, x), 2 * _STEPS), [8, 32])
    assert not run.explain.declined
    x = normal(8, 32)
    close(run(x), _wanted(x if start == "elements" else x @ _W, 2 * _STEPS), terms=64)


def test_what_is_short_is_computed_in_place() -> None:
    run = Lowered(lambda bb, x: _chain(bb, x, 1), [8, 32])
    (kernel,) = run.functions.values()
    assert kernel.script().count("T.sblock(") == 2  # the root, and everything
