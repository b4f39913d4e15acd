"""The ONNX project's own tests of operators, each compiled for a target as a user's .onnx file would be."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from emitted import HUB_OPSET, operators
from onnx.backend.test.case.test_case import TestCase as Case
from outcome import BUILT, PASSED, WRONG, Outcome, of_error

from backends.checked import CheckedSession
from compiler import driver
from compiler.contracts import DTYPES, Array, Backend, Captured, Dim, Ready, Source, TensorSpec
from compiler.frontend.onnx_program import OnnxProgram
from compiler.ir.opsets import difference, schema_at
from compiler.ir.text import dtype_text
from compiler.ir.verify import signature_of, verify

NAME = "node"


@functools.cache
def _all() -> dict[str, Case]:
    from onnx.backend.test.loader import load_node_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {case.name: case for case in load_node_model_tests()}


@functools.cache
def scope() -> dict[str, str]:
    """Every test with why it says nothing about compiled PyTorch models; "" where it does."""
    return {name: _excluded(operator(name), case.model) for name, case in _all().items()}


def cases() -> list[str]:
    return [name for name, why in scope().items() if not why]


def is_whole() -> bool:
    return True


def operator(name: str) -> str:
    """The operator that a case tests; "..._expanded" tests the body of the one in the case of the name before that."""
    types = [node.op_type for node in _all()[name].model.graph.node]
    plain = _all().get(name.partition("_expanded")[0])
    return plain.model.graph.node[-1].op_type if plain is not None else types[-1]


def _excluded(tested: str, proto: onnx.ModelProto) -> str:
    """All reasons hold for every target alike: such a model does not get past the frontend."""
    nodes = list(proto.graph.node)
    if tested not in operators() or any(node.domain or node.op_type not in operators() for node in nodes):
        return "an operator that torch's exporters do not write"
    values = [*proto.graph.input, *proto.graph.output]
    if any(value.type.WhichOneof("value") != "tensor_type" for value in values):
        return "a sequence or an optional value as input or output"
    types = {dtype_text(ir.DataType(value.type.tensor_type.elem_type)) for value in values}
    if not types <= set(DTYPES) - {"string"}:
        return "a type of input or output that no PyTorch model has here: text, 8-bit floats, 4 and 2 bits"
    if {node.op_type for node in nodes} & _RANDOM:
        return "random: there is no answer to compare with"
    if any(_trains(node) for node in nodes):
        return "training mode"
    if _is_newer(proto):
        return f"what the operator learned after opset {HUB_OPSET}, the hub's"
    return ""


_RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}


def _trains(node: onnx.NodeProto) -> bool:
    flag = any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute)
    return flag or (node.op_type == "Dropout" and len(node.input) > 2)


def _is_newer(proto: onnx.ModelProto) -> bool:
    written = {entry.domain: entry.version for entry in proto.opset_import}[""]
    return written > HUB_OPSET and any(_says_more(node, written) for node in ir.from_proto(proto).graph)


def _says_more(node: ir.Node, written: int) -> bool:
    here, there = schema_at(node, written), schema_at(node, HUB_OPSET)
    return there is None or (here is not None and difference(node, here, there) is not None)


def run(name: str, backend: Backend, folder: Path) -> Outcome:
    """Lower, build, open, run and compare one case, as the driver does with a model."""
    case, stage = _all()[name], "lower"
    try:
        captured = _captured(case, folder)
        driver.optimize(captured)
        _, graph, _ = driver.lower(captured, backend, folder, keep_provenance=False)
        stage = "build"
        artifact = backend.build(graph, captured.signature, {}, folder)
        state = backend.probe()
        if isinstance(state, Ready) and not state.runs:
            return Outcome(BUILT)
        stage = "open"
        with CheckedSession(backend.open(artifact, folder, {}), captured.signature) as session:
            stage = "run"
            for inputs, outputs in case.data_sets:
                names = [value.name for value in case.model.graph.input]
                results = session(dict(zip(names, map(_array, inputs), strict=True)))
                for spec, want in zip(captured.signature.outputs, outputs, strict=True):
                    if why := _differs(results[spec.name], _array(want), case):
                        return Outcome(WRONG, f"{spec.name}: {why}")
    except Exception as error:  # noqa: BLE001 - whatever a runtime raises is the result
        return of_error(error, stage, folder)
    return Outcome(PASSED)


def _captured(case: Case, folder: Path) -> Captured:
    file = folder / "case.onnx"
    onnx.save(case.model, file)
    program = OnnxProgram(Source(str(file), "onnx", ""))
    sizes = [_array(given).shape for given in case.data_sets[0][0]]
    specs = tuple(_holding(spec, shape) for spec, shape in zip(program.declared(), sizes, strict=True))
    program.trace(specs, {}, {})
    model = program.capture(HUB_OPSET)
    verify(model)
    dims = {dim.name: dim for spec in specs for dim in spec.dynamic}
    return Captured(model, signature_of(model, dims), program.source)


def _holding(spec: TensorSpec, shape: tuple[int, ...]) -> TensorSpec:
    """With ranges wide enough for the case's own data."""
    return replace(spec, dims=tuple(map(_wide, spec.dims, shape)))


def _wide(dim: Dim | int | str, size: int) -> Dim | int | str:
    return replace(dim, lo=min(dim.lo, size), hi=max(dim.hi, size)) if isinstance(dim, Dim) else dim


def _array(given: Any) -> Array:
    return onnx.numpy_helper.to_array(given) if isinstance(given, onnx.TensorProto) else np.asarray(given)


def _differs(have: Array, want: Array, case: Case) -> str:
    """At the case's own tolerances; "" where it does not."""
    if (have.dtype, have.shape) != (want.dtype, want.shape):
        return f"{have.dtype}{list(have.shape)} instead of {want.dtype}{list(want.shape)}"
    wide = np.complex128 if want.dtype.kind == "c" else np.float64
    left, right = have.astype(wide), want.astype(wide)
    close = np.isclose(left, right, rtol=case.rtol, atol=case.atol, equal_nan=True)
    if want.dtype.kind in "iub":
        close &= have == want
    if close.all():
        return ""
    place = tuple(int(axis) for axis in np.argwhere(~close)[0]) if want.ndim else ()
    return f"{int((~close).sum())} of {close.size} differ, first {have[place]} instead of {want[place]}"


def excluded() -> Mapping[str, int]:
    counts: dict[str, int] = {}
    for why in filter(None, scope().values()):
        counts[why] = counts.get(why, 0) + 1
    return counts
