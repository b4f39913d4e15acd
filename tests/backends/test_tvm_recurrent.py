"""TVM: LSTM, GRU and RNN against the evaluator in float64, in every variation that the standard has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import backends
from compiler.contracts import Dim
from compiler.graph_files import GRAPH
from compiler.ir.evaluate import Evaluator
from compiler.ir.store import save
from compiler.ir.verify import signature_of

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
INPUT, STEPS, BATCH = 7, 5, 3


def graph(
    op: str, hidden: int, inputs: set[str], attributes: Mapping[str, Any], dtype: str, *, fixed_weights: bool
) -> ir.Model:
    """One recurrent node with dynamic steps and batch; the weights are constants or inputs."""
    kind = ir.DataType[{"float32": "FLOAT", "float64": "DOUBLE", "float16": "FLOAT16"}[dtype]]
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    rows = bool(attributes.get("layout", 0))
    rng = np.random.default_rng(0)
    state: list[Any] = ["batch", directions, hidden] if rows else [directions, "batch", hidden]
    shapes: dict[str, list[Any]] = {
        "x": ["batch", "steps", INPUT] if rows else ["steps", "batch", INPUT],
        "w": [directions, GATES[op] * hidden, INPUT],
        "r": [directions, GATES[op] * hidden, hidden],
        "b": [directions, 2 * GATES[op] * hidden],
        "lengths": ["batch"],
        "h": state,
        "c": state,
        "p": [directions, 3 * hidden],
    }
    order = ["x", "w", "r", "b", "lengths", "h"] + (["c", "p"] if op == "LSTM" else [])
    values: dict[str, ir.Value] = {}
    graph_inputs, initializers = [], []
    for name in order:
        if name not in inputs | {"x", "w", "r"}:
            continue
        value = ir.Value(name=name, shape=ir.Shape(shapes[name]))
        value.dtype = ir.DataType.INT32 if name == "lengths" else kind
        if name in "wrbp" and fixed_weights:
            weights = rng.standard_normal(shapes[name]) / np.sqrt(hidden)
            value.const_value = ir.tensor(weights.astype(dtype), name=name)
            initializers.append(value)
        else:
            graph_inputs.append(value)
        values[name] = value
    node = ir.node(
        op,
        [values.get(name) for name in order],
        {"hidden_size": hidden, **attributes},
        num_outputs=3 if op == "LSTM" else 2,
        name="cell",
    )
    outputs: list[list[Any]] = [
        ["batch", "steps", directions, hidden] if rows else ["steps", directions, "batch", hidden],
        state,
        state,
    ]
    for place, value in enumerate(node.outputs):
        value.name, value.dtype, value.shape = f"y{place}", kind, ir.Shape(outputs[place])
    made = ir.Graph(graph_inputs, node.outputs, nodes=[node], initializers=initializers, opset_imports={"": 22})
    return ir.Model(made, ir_version=10)


def check(
    folder: Path,
    op: str,
    hidden: int = 16,
    inputs: str = "b",
    dtype: str = "float32",
    *,
    fixed_weights: bool = True,
    fixed_sizes: bool = False,
    **attributes: Any,
) -> None:
    model = graph(op, hidden, set(inputs.split()), attributes, dtype, fixed_weights=fixed_weights)
    if fixed_sizes:
        for value in (*model.graph.inputs, *model.graph.outputs):
            assert value.shape is not None
            value.shape = ir.Shape({"steps": STEPS, "batch": BATCH}.get(str(dim), dim) for dim in value.shape)
    signature = signature_of(model, {"batch": Dim("batch", 1, 8), "steps": Dim("steps", 1, 16)})
    precise = Evaluator(model.clone(), precise=True)
    save(model, folder / GRAPH)
    backend, out = backends.get("tvm"), folder / "out"
    out.mkdir()
    artifact = backend.build(folder / GRAPH, signature, {}, out)
    rng = np.random.default_rng(1)
    with backend.open(artifact, out, {}) as session:
        for steps, batch in ((STEPS, BATCH), (1, 1))[: 1 if fixed_sizes else 2]:
            data = {
                spec.name: (1 / np.sqrt(hidden) if spec.name in "wrbp" else 1)
                * rng.standard_normal(spec.shape({"steps": steps, "batch": batch})).astype(dtype)
                for spec in signature.inputs
            }
            data = {name: array.astype(dtype) for name, array in data.items()}
            if "lengths" in data:
                data["lengths"] = rng.integers(0, steps + 1, batch).astype(np.int32)
            got, want = session(data), precise(data)
            tolerance = {"float32": 2e-6, "float64": 1e-14, "float16": 2e-3}[dtype]
            for name in want:
                assert got[name].dtype == dtype
                found = got[name].astype(np.float64)
                np.testing.assert_allclose(found, want[name], atol=tolerance, rtol=0, err_msg=name)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", GATES)
def test_every_direction_with_lengths_and_a_first_state(tmp_path: Path, op: str, direction: str) -> None:
    check(tmp_path, op, inputs="b lengths h c", direction=direction)


@pytest.mark.parametrize("op", GATES)
def test_sizes_that_are_fixed(tmp_path: Path, op: str) -> None:
    check(tmp_path, op, inputs="b lengths h c", direction="bidirectional", fixed_sizes=True)


@pytest.mark.parametrize("hidden", [1, 5, 17, 48])
@pytest.mark.parametrize("op", GATES)
def test_any_hidden_size(tmp_path: Path, op: str, hidden: int) -> None:
    check(tmp_path, op, hidden, inputs="b h c", **({"linear_before_reset": 1} if op == "GRU" else {}))


@pytest.mark.parametrize("linear_first", [0, 1])
def test_where_the_reset_gate_comes(tmp_path: Path, linear_first: int) -> None:
    check(tmp_path, "GRU", 20, linear_before_reset=linear_first, direction="bidirectional")


@pytest.mark.parametrize("op", GATES)
def test_sequences_first_and_no_bias(tmp_path: Path, op: str) -> None:
    check(tmp_path, op, 12, inputs="h c", layout=1)


def test_peepholes_and_a_coupled_gate(tmp_path: Path) -> None:
    check(tmp_path, "LSTM", 9, inputs="b c p", input_forget=1)


def test_peepholes(tmp_path: Path) -> None:
    check(tmp_path, "LSTM", 9, inputs="b c p", direction="bidirectional")


def test_other_activations_for_each_direction(tmp_path: Path) -> None:
    names = ["HardSigmoid", "Softsign", "ScaledTanh", "Sigmoid", "Elu", "LeakyRelu"]
    given = {"activation_alpha": [0.3, 1.2, 0.5, 0.02], "activation_beta": [0.4, 0.9]}
    check(tmp_path, "LSTM", 8, direction="bidirectional", activations=names, clip=0.6, **given)


@pytest.mark.parametrize("dtype", ["float64", "float16"])
@pytest.mark.parametrize("op", GATES)
def test_other_types(tmp_path: Path, op: str, dtype: str) -> None:
    check(tmp_path, op, 6, inputs="b h c", dtype=dtype)


@pytest.mark.parametrize("op", GATES)
def test_weights_may_be_inputs(tmp_path: Path, op: str) -> None:
    check(tmp_path, op, 5, inputs="b h c", fixed_weights=False, direction="bidirectional")
