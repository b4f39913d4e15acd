"""ONNX's own tests of every operator through the pipeline: before and after agree."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx.backend.test.case.test_case import TestCase as Case
from onnx.backend.test.loader import load_node_model_tests

from compiler.errors import CompileError, PlumblineError
from compiler.passes import pipeline
from compiler.passes.agreement import Judge

# What a fold may decide once and for all, or what the pipeline does not take.
OUT_OF_SCOPE = ("test_bernoulli", "test_training_dropout", "test_image_decoder")
REFUSED = {"unreadable-model", "unsupported-op", "evaluation-failed"}  # the evaluator, or the signature, says no


def _cases() -> list[Case]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = load_node_model_tests()
    return [
        case
        for case in cases
        if not case.name.startswith(OUT_OF_SCOPE)
        and "_expanded" not in case.name  # the same once more, in the operators that the body is made of
        and all(entry.domain in ("", "ai.onnx") for entry in case.model.opset_import)
    ]


def _arrays(case: Case, model: ir.Model) -> list[dict[str, Any]] | None:
    """Inputs of every data set; None where they are no tensors."""
    draws = []
    for inputs, _ in case.data_sets:
        values = [onnx.numpy_helper.to_array(one) if isinstance(one, onnx.TensorProto) else one for one in inputs]
        if not all(isinstance(value, (np.ndarray, np.generic)) for value in values):
            return None
        draws.append(dict(zip([str(value.name) for value in model.graph.inputs], values, strict=True)))
    return draws


def _outcome(case: Case) -> str:
    """ "" where they agree, "refused" where the evaluator has no say, else what is wrong."""
    before, after = ir.from_proto(case.model), ir.from_proto(case.model)
    draws = _arrays(case, before)
    if draws is None:
        return "refused"
    try:
        judge = Judge(before, draws)
    except CompileError as error:
        return "refused" if error.code in REFUSED else f"{error.code}: {error.message}"
    try:
        pipeline.run(after)
        found = judge.difference(after)
    except PlumblineError as error:
        return "refused" if error.code == "unreadable-model" else f"{error.message}: {error.why}"
    return "" if found is None else found[1]


def test_every_operator_survives_the_pipeline() -> None:
    agreed, wrong = 0, {}
    for case in _cases():
        outcome = _outcome(case)
        agreed += outcome == ""
        if outcome not in ("", "refused"):
            wrong[case.name] = outcome
    assert not wrong
    assert agreed > 900
