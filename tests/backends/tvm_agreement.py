"""What the tests of TVM's operators share: a graph in text, built for TVM, against plumbline's own evaluator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import onnx_ir as ir
from contract import BackendContract

from compiler.contracts import Array, Arrays, Dim
from compiler.ir.evaluate import Evaluator

OPSET = 24
HEADER = f'<ir_version: 11, opset_import: ["" : {OPSET}]> g '

SPECIAL = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1.5, -2.5, 0.5, -0.5, 88.0, -88.0, 1e-30], np.float32)


class Agreement:
    target = "tvm"
    opened = BackendContract.opened

    def agree(
        self, folder: Path, text: str, *calls: Arrays, dims: Sequence[Dim] = (), rtol: float = 2e-5, **options: Any
    ) -> None:
        """Every call gives what the evaluator gives: the same types, shapes, places of NaN, and numbers."""
        model = ir.from_proto(onnx.parser.parse_model(HEADER + text))
        evaluator = Evaluator(model, precise=False)
        with self.opened(folder, text, *dims, **options) as session:
            for inputs in calls:
                want, got = evaluator(inputs), session(inputs)
                assert list(got) == list(want)
                for name in want:
                    _same(name, got[name], want[name], rtol)


def _same(name: str, got: Array, want: Array, rtol: float) -> None:
    assert (got.dtype, got.shape) == (want.dtype, want.shape), name
    if want.dtype.kind == "f":
        atol = rtol * 10 ** (3 if want.dtype == np.float16 else 0)
        np.testing.assert_allclose(
            got.astype(np.float64), want.astype(np.float64), rtol=atol, atol=atol, equal_nan=True, err_msg=name
        )
    else:
        np.testing.assert_array_equal(got, want, err_msg=name)


def numbers(*shape: int, seed: int = 0, dtype: str = "float32") -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)
