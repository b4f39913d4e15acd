"""ONNX Runtime computes Swish with its own operator."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from check import apply, check_unchanged, parse
from hub import hub

from backends.onnxruntime.passes.quick_gelu import QuickGelu


@pytest.mark.parametrize("alpha", [1.0, 1.702])
def test_it_computes_the_same(alpha: float) -> None:
    model = parse(hub("(float[n,4] x) => (float[n,4] y)", f"y = Swish<alpha={alpha}>(x)"))
    assert apply(QuickGelu(), model)
    assert not apply(QuickGelu(), model)
    assert [node.op_identifier() for node in model.graph] == [("com.microsoft", "QuickGelu", "")]
    x = np.linspace(-100, 100, 40, dtype=np.float32).reshape(10, 4)
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    wide = x.astype(np.float64)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], wide / (1 + np.exp(-alpha * wide)), rtol=1e-6, atol=1e-6)


def test_others_are_left_alone() -> None:
    check_unchanged(QuickGelu(), hub("(float[n,4] x) => (float[n,4] y)", "y = HardSwish(x)"))
