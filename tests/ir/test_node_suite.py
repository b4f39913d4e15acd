"""ONNX's own tests of every operator, through the evaluator."""

from __future__ import annotations

import warnings
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.backend.test.case.test_case import TestCase as Case
from onnx.backend.test.loader import load_node_model_tests

from compiler.errors import PlumblineError
from compiler.ir.evaluate import Evaluator

# Nothing that a PyTorch model can become.
OTHER_DOMAINS = {"ai.onnx.ml", "ai.onnx.preview.training"}
OUT_OF_SCOPE = {
    "test_bernoulli": "random",
    "test_training_dropout": "random",
    "test_image_decoder": "needs Pillow",
}

# A test that starts to pass must leave this table.
KNOWN_FAILURES = {
    "test_resize_downsample_scales_linear_align_corners": "ONNX divides by the fractional size; we, PyTorch and "
    "onnxruntime by the number of elements",
    "test_resize_downsample_scales_cubic_align_corners": "the same",
    "test_scan_sum": "Scan before opset 9 has a batch axis",
}

# Where float64 must not agree: what is computed depends on the bits of the number.
BITS = ("test_bitcast",)


def _cases() -> dict[str, Case]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = load_node_model_tests()
    return {
        case.name: case
        for case in cases
        if not OTHER_DOMAINS & {entry.domain for entry in case.model.opset_import}
        and not case.name.startswith(tuple(OUT_OF_SCOPE))
    }


CASES = _cases()


def _value(given: Any) -> Any:
    """What a test hands in or expects, which may still be a message."""
    if isinstance(given, onnx.TensorProto):
        return onnx.numpy_helper.to_array(given)
    if isinstance(given, onnx.SequenceProto):
        return onnx.numpy_helper.to_list(given)
    return onnx.numpy_helper.to_optional(given) if isinstance(given, onnx.OptionalProto) else given


def _run(case: Case, *, precise: bool) -> list[tuple[Any, Any]]:
    """What came out beside what should."""
    model = ir.from_proto(case.model)
    evaluator = Evaluator(model, precise=precise)
    pairs = []
    for inputs, outputs in case.data_sets:
        names = [value.name for value in model.graph.inputs]
        results = evaluator({name: _value(given) for name, given in zip(names, inputs, strict=True)})
        pairs.extend(zip(results.values(), map(_value, outputs), strict=True))
    return pairs


def _resolution(dtype: np.dtype[Any]) -> float:
    return float(ml_dtypes.finfo(dtype).eps) if dtype.name in ("float16", "bfloat16") else 0.0


def _assert_same(have: Any, want: Any, case: Case) -> None:
    if want is None:
        assert have is None
    elif isinstance(want, list):
        assert isinstance(have, list)
        assert len(have) == len(want)
        for one, other in zip(have, want, strict=True):
            _assert_same(one, other, case)
    else:
        _assert_close(have, np.asarray(want), case)


def _assert_close(have: np.ndarray, want: np.ndarray, case: Case) -> None:
    assert have.shape == want.shape
    if want.dtype.kind in "OUS":
        assert have.astype(str).tolist() == want.astype(str).tolist()
        return
    assert have.dtype == want.dtype
    wide = np.result_type(want.dtype, np.float64) if want.dtype.kind in "fciub" else np.float64
    tolerance = max(case.rtol, 4 * _resolution(want.dtype))
    np.testing.assert_allclose(have.astype(wide), want.astype(wide), rtol=tolerance, atol=case.atol)


@pytest.mark.parametrize("name", CASES)
def test_in_the_types_of_the_graph(name: str) -> None:
    case = CASES[name]
    if name in KNOWN_FAILURES:
        with pytest.raises((AssertionError, PlumblineError)):
            for have, want in _run(case, precise=False):
                _assert_same(have, want, case)
        return
    for have, want in _run(case, precise=False):
        _assert_same(have, want, case)


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith(BITS) and name not in KNOWN_FAILURES])
def test_in_float64(name: str) -> None:
    """Every float comes out as float64, near what the narrower type gives. Integers may differ by a rounding."""
    for have, want in _run(CASES[name], precise=True):
        if not isinstance(want, np.ndarray) or want.dtype.name not in ("float16", "bfloat16", "float32", "float64"):
            continue
        assert have.dtype == np.float64
        tolerance = max(1e-3, 4 * _resolution(want.dtype))
        np.testing.assert_allclose(have, want.astype(np.float64), rtol=tolerance, atol=max(1e-6, tolerance * 1e-2))


def test_the_tables_name_tests_that_exist() -> None:
    names = [case.name for case in load_node_model_tests()]
    assert set(KNOWN_FAILURES) <= set(names)
    assert all(any(name.startswith(prefix) for name in names) for prefix in (*OUT_OF_SCOPE, *BITS))
