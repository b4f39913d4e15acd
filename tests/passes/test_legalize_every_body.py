"""Every operator that ONNX defines through others, expanded on ONNX's own examples of it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.backend.test.loader import load_node_model_tests

from compiler.contracts import Legality
from compiler.ir.evaluate import Evaluator
from compiler.ir.verify import verify
from compiler.passes.legalize import Legalize

DOMAINS = {"", "ai.onnx.preview"}
LEFT_OUT = {
    "test_bernoulli": "random",
    "test_shrink": "an example in opset 9, which cannot write the constants of the body",
}


def _definition(model: onnx.ModelProto) -> Any:
    node = model.graph.node[0]
    versions = {entry.domain: entry.version for entry in model.opset_import}
    return onnx.defs.get_schema(node.op_type, versions[node.domain], node.domain)


def _examples() -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = load_node_model_tests()
    plain = [
        case
        for case in cases
        if len(case.model.graph.node) == 1
        and {entry.domain for entry in case.model.opset_import} <= DOMAINS
        and not case.name.startswith(tuple(LEFT_OUT))
    ]
    definitions = {case.name: _definition(case.model) for case in plain}
    defined = {n for n, schema in definitions.items() if schema.has_function or schema.has_context_dependent_function}
    return {case.name: case for case in plain if case.name in defined}


EXAMPLES = _examples()


def _array(given: Any) -> Any:
    return onnx.numpy_helper.to_array(given) if isinstance(given, onnx.TensorProto) else given


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_body_computes_what_the_operator_computes(name: str) -> None:
    case = EXAMPLES[name]
    original = ir.from_proto(case.model)
    node = original.graph[0]
    node.metadata_props["pkg.torch.onnx.name_scopes"] = "['', 'layer', 'op']"
    operator = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
    opsets = {"": original.opset_imports[""], "ai.onnx.preview": 1}
    model = original.clone()
    assert Legalize(Legality(opsets, {operator: "no"}))(model).modified
    verify(model)
    assert not any(inner.op_type == node.op_type for inner in model.graph)
    ((inputs, _),) = case.data_sets
    given = {value.name: _array(array) for value, array in zip(original.graph.inputs, inputs, strict=True)}
    want, have = Evaluator(original, precise=True)(given), Evaluator(model, precise=True)(given)
    assert want.keys() == have.keys()
    for output in want:
        _assert_same(have[output], want[output])


def _assert_same(have: Any, want: Any) -> None:
    if isinstance(want, list):
        assert len(have) == len(want)
        for one, other in zip(have, want, strict=True):
            _assert_same(one, other)
    elif want.dtype.kind in "OUS":
        assert have.tolist() == want.tolist()
    else:
        # Constants in the bodies are float32 numbers.
        assert have.dtype == want.dtype
        np.testing.assert_allclose(have.astype(np.float64), want.astype(np.float64), rtol=1e-6, atol=1e-7)
