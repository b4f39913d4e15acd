"""Small random graphs, full of what passes look for: chains, no-ops, shape arithmetic, shared weights, subgraphs.

Every dim is followed at three choices of sizes at once, so that the graph is valid at all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZES = {"n": (2, 5, 1), "m": (3, 4, 1)}
POINTS = 3
OPSET = 21

_TYPES = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "float16": TensorProto.FLOAT16,
    "int64": TensorProto.INT64,
    "int32": TensorProto.INT32,
    "uint8": TensorProto.UINT8,
    "bool": TensorProto.BOOL,
}
_FLOATS = ("float32", "float32", "float32", "float64", "float16")


@dataclass(frozen=True)
class Dim:
    """A size at each point; `name` where a graph input declares it."""

    at: tuple[int, ...]
    fixed: bool
    name: str = ""

    def __mul__(self, other: Dim) -> Dim:
        return Dim(tuple(a * b for a, b in zip(self.at, other.at, strict=True)), self.fixed and other.fixed)

    def __add__(self, other: Dim) -> Dim:
        return Dim(tuple(a + b for a, b in zip(self.at, other.at, strict=True)), self.fixed and other.fixed)


def fixed(size: int) -> Dim:
    return Dim((size,) * POINTS, fixed=True)


ONE = fixed(1)


@dataclass(frozen=True)
class Value:
    name: str
    dtype: str
    dims: tuple[Dim, ...]

    @property
    def rank(self) -> int:
        return len(self.dims)


class Maker:
    """One random graph. The same seed makes the same graph."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.weights: list[Value] = []
        self.values: list[Value] = []
        self.inputs: list[Value] = []
        self.count = 0

    # -- choosing ---------------------------------------------------------------------------------------------

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def pick(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def value(self, fits: Callable[[Value], bool] = lambda value: True) -> Value | None:
        """Mostly one of the latest, so that chains come about."""
        fitting = [value for value in self.values if fits(value)]
        if not fitting:
            return None
        return self.pick(fitting[-4:] if self.chance(0.7) else fitting)

    # -- making -----------------------------------------------------------------------------------------------

    def name(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def emit(self, operator: str, inputs: Sequence[str], dtype: str, dims: Sequence[Dim], **attributes: Any) -> Value:
        result = Value(self.name("v"), dtype, tuple(dims))
        self.nodes.append(helper.make_node(operator, list(inputs), [result.name], **attributes))
        self.values.append(result)
        return result

    def hidden(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """A node whose result is not for others to use."""
        name = self.name("h")
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, array: np.ndarray) -> str:
        name = self.name("c")
        if self.chance(0.2):
            self.nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array)))
        else:
            self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def ints(self, *numbers: int) -> str:
        return self.constant(np.array(numbers, np.int64))

    def weight(self, shape: Sequence[int], dtype: str) -> str:
        """Sometimes one that is there already: a shared weight."""
        dims = tuple(map(fixed, shape))
        alike = [value for value in self.weights if value.dims == dims and value.dtype == dtype]
        if alike and self.chance(0.4):
            return str(self.pick(alike).name)
        name = self.constant(self.numbers(shape, dtype))
        self.weights.append(Value(name, dtype, dims))
        return name

    def numbers(self, shape: Sequence[int], dtype: str) -> np.ndarray:
        if dtype == "bool":
            return self.rng.random(shape) < 0.5
        if dtype.startswith("float"):
            array = self.rng.standard_normal(shape)
            special = self.rng.random()
            array = np.zeros(shape) if special < 0.1 else np.ones(shape) if special < 0.2 else array
            return np.asarray(array).astype(dtype)
        return self.rng.integers(0, 4, shape).astype(dtype)

    def build(self, length: int, *, motifs: bool) -> onnx.ModelProto:
        from random_motifs import MOTIFS
        from random_operators import OPERATORS

        for _ in range(int(self.rng.integers(1, 4))):
            self.add_input()
        operators, shares = zip(*OPERATORS, strict=True)
        chances = np.array(shares) / sum(shares)
        for _ in range(length):
            operators[int(self.rng.choice(len(operators), p=chances))](self)
            if motifs and self.chance(0.2):
                self.pick(MOTIFS)(self)
        return self.finish()

    def add_input(self) -> None:
        dtype = self.pick(_FLOATS) if self.chance(0.8) else self.pick(("int64", "int32", "bool", "uint8"))
        rank = int(self.rng.integers(1, 5))
        dims = [
            Dim(SIZES[name], fixed=False, name=name) if (name := self.pick(("n", "m", "", ""))) else fixed(self.size())
            for _ in range(rank)
        ]
        value = Value(self.name("x"), str(dtype), tuple(dims))
        self.inputs.append(value)
        self.values.append(value)

    def size(self) -> int:
        return int(self.pick((1, 2, 2, 3, 4, 6)))

    def finish(self) -> onnx.ModelProto:
        used = {name for node in self.nodes for name in node.input}
        made = {name for node in self.nodes for name in node.output}
        candidates = [value for value in self.values if value.name in made]
        ends = [value for value in candidates if value.name not in used and self.chance(0.8)][-6:]
        shared = [value for value in candidates if value.name in used and self.chance(0.1)][:2]
        outputs = list({value.name: value for value in (*ends, *shared)}.values())
        if not outputs:
            outputs = candidates[-1:] or [
                self.emit("Relu", [self.inputs[0].name], self.inputs[0].dtype, self.inputs[0].dims)
            ]
        graph = helper.make_graph(
            self.nodes,
            "random",
            [_declared(value) for value in self.inputs],
            [_declared(value) for value in outputs],
            self.initializers,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)

    def draw(self, point: int) -> dict[str, np.ndarray]:
        """Data for the inputs at one of the points."""
        return {value.name: self.numbers([dim.at[point] for dim in value.dims], value.dtype) for value in self.inputs}


def _declared(value: Value) -> onnx.ValueInfoProto:
    shape: list[int | str | None] = [dim.at[0] if dim.fixed else dim.name or None for dim in value.dims]
    return helper.make_tensor_value_info(value.name, _TYPES[value.dtype], shape)


def random_graph(
    seed: int, length: int | None = None, *, motifs: bool = True
) -> tuple[onnx.ModelProto, list[dict[str, np.ndarray]]]:
    """A graph, and inputs for it at every point. Without `motifs`, it is made of single operators."""
    maker = Maker(seed)
    model = maker.build(int(maker.rng.integers(4, 24)) if length is None else length, motifs=motifs)
    return model, [maker.draw(point) for point in range(POINTS)]
