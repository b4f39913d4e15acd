"""How much work each node of a graph is, from its shapes: what has to be multiplied, and what has to be moved."""

from __future__ import annotations

import ast
import json
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from compiler.graph_files import NODES, NODES_SCHEMA

Shape = tuple[int, ...]

# Of what these are given they read as much as they give, whatever lies there.
_PICK = {"Gather", "GatherElements", "GatherND", "Slice", "Split", "EmbeddingBag"}
# These look at a shape, or give another view of the same memory.
_FREE = {"Shape", "Size", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Constant"}


@dataclass(frozen=True)
class Node:
    name: str
    operator: str
    module: str | None  # None where nothing is known
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    equation: str = ""


@dataclass(frozen=True)
class Tensor:
    dtype: str
    shape: Shape

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.count * (2 if self.dtype == "bfloat16" else np.dtype(_NUMPY.get(self.dtype, self.dtype)).itemsize)


_NUMPY = {"string": "object", "float8_e4m3fn": "int8", "float8_e5m2": "int8", "int4": "int8", "uint4": "uint8"}


@dataclass(frozen=True)
class Work:
    """Floating-point operations of products (a multiplication and an addition are two), and bytes to and from memory.

    None where a shape is not known.
    """

    flops: int | None
    bytes: int | None
    dtype: str = "float32"  # that products are computed in


class Graph:
    """The graph that an artifact was built from, at some sizes of its dims."""

    def __init__(self, nodes: Sequence[Node], tensors: Mapping[str, Tensor]) -> None:
        self.nodes = nodes
        self._tensors = tensors

    @cached_property
    def by_name(self) -> dict[str, Node]:
        """Under their own names and those of what they compute; of a weight, the one node that reads it."""
        found = {node.name: node for node in self.nodes}
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in node.outputs:
                found.setdefault(name, node)
            for name in node.inputs:
                readers.setdefault(name, []).append(node)
        for name, those in readers.items():
            if len(those) == 1:
                found.setdefault(name, those[0])
        return found

    def flops(self, node: Node) -> int | None:
        """Products only; what is done to each element alone costs its way through memory."""
        count = _PRODUCTS.get(node.operator)
        if count is None:
            return 0
        given, made = ([self._tensors.get(name) for name in names] for names in (node.inputs, node.outputs))
        try:
            return count(_Places(given), _Places(made), node)
        except _UnknownShapeError:
            return None

    def work(self, nodes: Sequence[Node]) -> Work:
        """Of nodes that are computed in one go: what passes between them never sees memory."""
        flops = [self.flops(node) for node in nodes]
        known = [each for each in flops if each is not None]
        heaviest = max(nodes, key=lambda node: self.flops(node) or 0, default=None)
        dtype = self._dtype(heaviest) if heaviest is not None else "float32"
        return Work(sum(known) if len(known) == len(flops) else None, self._moved(nodes), dtype)

    def _moved(self, nodes: Sequence[Node]) -> int | None:
        if all(node.operator in _FREE for node in nodes):
            return 0
        made = {name for node in nodes for name in node.outputs if name}
        read = {name for node in nodes for name in node.inputs if name} - made
        inside = {name for name in made if self._read_only_by(name, nodes)}
        if len(nodes) == 1 and nodes[0].operator in _PICK:
            sizes = [self._bytes(name) for name in nodes[0].outputs if name] * 2
        else:
            sizes = [self._bytes(name) for name in (*read, *(made - inside))]
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None

    def _read_only_by(self, name: str, nodes: Sequence[Node]) -> bool:
        readers = self._readers.get(name, ())
        names = {node.name for node in nodes}
        return bool(readers) and all(reader in names for reader in readers)

    @cached_property
    def _readers(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for node in self.nodes:
            for name in node.inputs:
                found.setdefault(name, []).append(node.name)
        return found

    def _bytes(self, name: str) -> int | None:
        tensor = self._tensors.get(name)
        return tensor.bytes if tensor is not None else None

    def _dtype(self, node: Node) -> str:
        types = [self._tensors[name].dtype for name in (*node.inputs, *node.outputs) if name in self._tensors]
        return next((name for name in types if "float" in name), "float32")


def read(folder: Path, sizes: Mapping[str, int]) -> Graph | None:
    """None where the bundle does not tell: an older one, or a graph that is too large."""
    file = folder / NODES
    if not file.is_file():
        return None
    table = json.loads(file.read_text(encoding="utf-8"))
    if table["schema"] != NODES_SCHEMA:
        return None
    modules = table["modules"]
    nodes = [
        Node(name or "", kind, modules[place] if place >= 0 else None, tuple(given), tuple(made), *more)
        for name, kind, place, given, made, *more in table["nodes"]
    ]
    tensors = {}
    for name, (dtype, dims) in table["values"].items():
        shape = [_size(dim, sizes) for dim in dims]
        if None not in shape and dtype != "undefined":
            tensors[name] = Tensor(dtype, tuple(size for size in shape if size is not None))
    return Graph(nodes, tensors)


# -- sizes ------------------------------------------------------------------------------------------------------

_ARITHMETIC: dict[type, Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Div: operator.floordiv,
}
_FUNCTIONS: dict[str, Callable[..., int]] = {"floor": lambda value: value, "max": max, "min": min}
_LONGEST = 1000  # letters of an expression


def _size(dim: int | str, sizes: Mapping[str, int]) -> int | None:
    if isinstance(dim, int):
        return dim
    if dim in sizes:
        return sizes[dim]
    if len(dim) > _LONGEST:
        return None
    try:
        return _value(ast.parse(dim, mode="eval").body, sizes)
    except (SyntaxError, KeyError, ZeroDivisionError, TypeError):
        return None


def _value(term: ast.expr, sizes: Mapping[str, int]) -> int:
    match term:
        case ast.Constant(value=int(number)):
            return number
        case ast.Name(id=name):
            return sizes[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, sizes)
        case ast.BinOp(left=left, op=sign, right=right):
            return _ARITHMETIC[type(sign)](_value(left, sizes), _value(right, sizes))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _FUNCTIONS[name](*(_value(argument, sizes) for argument in arguments))
    raise KeyError("no arithmetic")


# -- products ---------------------------------------------------------------------------------------------------


class _UnknownShapeError(Exception):
    pass


class _Places:
    """The tensors of a node by their places."""

    def __init__(self, tensors: Iterable[Tensor | None]) -> None:
        self._tensors = list(tensors)

    def __getitem__(self, place: int) -> Tensor:
        tensor = self._tensors[place] if place < len(self._tensors) else None
        if tensor is None:
            raise _UnknownShapeError
        return tensor

    def get(self, place: int) -> Tensor | None:
        return self._tensors[place] if place < len(self._tensors) else None


def _matmul(given: _Places, made: _Places, _: Node) -> int:
    return 2 * made[0].count * given[0].shape[-1]


def _gemm(given: _Places, made: _Places, _: Node) -> int:
    rows = made[0].shape[0]
    return 2 * made[0].count * (given[0].count // rows if rows else 0)


def _conv(given: _Places, made: _Places, _: Node) -> int:
    return 2 * made[0].count * math.prod(given[1].shape[1:])


def _quantized_conv(given: _Places, made: _Places, _: Node) -> int:
    return 2 * made[0].count * math.prod(given[3].shape[1:])


def _conv_transpose(given: _Places, _made: _Places, _: Node) -> int:
    return 2 * given[0].count * math.prod(given[1].shape[1:])


def _attention(given: _Places, made: _Places, _: Node) -> int:
    """Each query with each key, and each weight with each value."""
    keys = given[1].shape[-2]
    past = given.get(4)
    reach = keys + (past.shape[-2] if past is not None else 0)
    return 2 * reach * (given[0].count + made[0].count)


def _recurrent(given: _Places, _made: _Places, _node: Node) -> int:
    steps, batch, *_ = given[0].shape
    return 2 * steps * batch * (given[1].count + given[2].count)


def _einsum(given: _Places, _made: _Places, node: Node) -> int:
    terms = node.equation.replace(" ", "").partition("->")[0].split(",")
    if len(terms) < 2:
        return 0
    if "." in node.equation:
        raise _UnknownShapeError
    extents = {
        letter: size for place, term in enumerate(terms) for letter, size in zip(term, given[place].shape, strict=False)
    }
    return 2 * math.prod(extents.values())


_PRODUCTS: dict[str, Callable[[_Places, _Places, Node], int]] = {
    "MatMul": _matmul,
    "FusedMatMul": _matmul,
    "MatMulInteger": _matmul,
    "MatMulNBits": _matmul,
    "QLinearMatMul": _matmul,
    "Gemm": _gemm,
    "FusedGemm": _gemm,
    "Conv": _conv,
    "FusedConv": _conv,
    "ConvInteger": _conv,
    "QLinearConv": _quantized_conv,
    "ConvTranspose": _conv_transpose,
    "Attention": _attention,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
    "Einsum": _einsum,
}
