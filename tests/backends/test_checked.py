"""The check in front of every session: what was accepted once is not a passport for what merely looks like it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from backends.checked import CheckedSession
from compiler.contracts import Array, Arrays, Closing, Dim, Signature, TensorSpec
from compiler.errors import UsageError

N = Dim("n", 1, 5)
SIGNATURE = Signature((TensorSpec("x", "float32", (N, 3)), TensorSpec("z", "float32", (N,))), ())


class Echo(Closing):
    effective: Mapping[str, Any] = {}

    def __call__(self, inputs: Arrays) -> dict[str, Array]:
        return dict(inputs)

    def close(self) -> None:
        pass


class LooksLikeAnArray:
    dtype = np.dtype(np.float32)
    shape = (2, 3)


GOOD = {"x": np.ones((2, 3), np.float32), "z": np.ones(2, np.float32)}


@pytest.mark.parametrize(
    "wrong",
    [
        {"x": LooksLikeAnArray()},
        {"x": np.ones((2, 3), np.float64)},
        {"x": np.ones((3, 3), np.float32)},
        {"z": np.ones(3, np.float32)},
        {"x": [[1.0, 2.0, 3.0]] * 2},
        {"y": np.ones(2, np.float32)},
    ],
    ids=["look-alike", "float64", "another n", "another n there", "list", "extra"],
)
def test_what_was_right_once_does_not_let_the_wrong_in(wrong: dict[str, Any]) -> None:
    session = CheckedSession(Echo(), SIGNATURE)
    for _ in range(2):
        assert session(GOOD).keys() == GOOD.keys()
        with pytest.raises(UsageError):
            session({**GOOD, **wrong})


def test_bytes_are_turned_every_time() -> None:
    session = CheckedSession(Echo(), SIGNATURE)
    swapped = {**GOOD, "x": np.arange(6).reshape(2, 3).astype(">f4")}
    for _ in range(2):
        x = session(swapped)["x"]
        assert x.dtype.isnative
        assert x.ravel().tolist() == list(range(6))


def test_layouts_are_remembered_within_bounds() -> None:
    session = CheckedSession(Echo(), Signature((TensorSpec("x", "float32", (Dim("n", 1, 5000),)),), ()))
    for size in range(1, 3000):
        session({"x": np.empty(size, np.float32)})
    assert len(session._accepted) == 1000


def test_a_runtime_without_a_gpu_takes_no_arrays_there() -> None:
    with pytest.raises(UsageError) as caught:
        CheckedSession(Echo(), SIGNATURE).on_device(GOOD, {})
    assert caught.value.code == "no-device-arrays"


def test_arrays_on_a_gpu_are_for_the_runtimes_own_session() -> None:
    class Gpu(Echo):
        def on_device(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
            given.append((inputs, outputs))

    given: list[Any] = []
    CheckedSession(Gpu(), SIGNATURE).on_device(GOOD, {"y": 1})
    assert given == [(GOOD, {"y": 1})]
