"""x @ DequantizeLinear(q, s, z) = MatMulNBits(x, q, s, z) in four bits, x @ (float(q) - z) * s in eight.

Left alone, ONNX Runtime makes MatMulNBits of both on its own, in an accuracy where it also rounds x to eight bits,
which is another graph. It does not see a Gemm or a Transpose, whose weights it then reads anew in each call.

In float32 its kernel for four bits is about as fast as a product with float32 weights, and as small in memory as the
file. Its kernel for eight bits is a hundred times slower, so that those are written out: the runtime folds them into
float32 when it loads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array
from compiler.passes.rewriting import LocalRewrite, constant, input_of, is_constant, is_op, made_by, rank

DOMAIN = "com.microsoft"
FLOAT32 = 1  # accuracy_level: x as it is
_BLOCKS = (16, 32, 64, 128, 256)
_OWN_BLOCK = 128  # where all of a channel has one scale
_FOUR_BITS = {ir.DataType.INT4: 8, ir.DataType.UINT4: 0}  # what makes the numbers unsigned
_EIGHT_BITS = (ir.DataType.INT8, ir.DataType.UINT8)


class FewBitWeights(LocalRewrite):
    """For constant weights, unless what they are multiplied with is whole numbers as well."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        self._made: dict[tuple[ir.Value, int], _Packed | None] = {}  # weights with several users are packed once
        result = super().call(model)
        if any(node.domain == DOMAIN for node in model.graph):
            model.opset_imports.setdefault(DOMAIN, 1)
        return result

    def visit(self, node: ir.Node) -> None:
        x, weight = input_of(node, 0), input_of(node, 1)
        if not is_op(node, "MatMul", "Gemm") or x is None or weight is None or _is_whole(x):
            return
        turn = made_by(weight, "Transpose")
        read = made_by(turn.inputs[0] if turn is not None else weight, "DequantizeLinear")
        if read is None or not all(is_constant(value) for value in read.inputs if value is not None):
            return
        if read.inputs[0] is None or read.outputs[0].dtype != ir.DataType.FLOAT:
            return
        if read.inputs[0].dtype in _EIGHT_BITS and not read.attributes.get_int("block_size", 0):
            self._write_out(read)
        elif read.inputs[0].dtype in _FOUR_BITS:
            self._fuse(node, read, turned=turn is not None)

    def _write_out(self, read: ir.Node) -> None:
        codes, scale = read.inputs[0], read.inputs[1]
        assert codes is not None and scale is not None
        floats, shape = ir.DataType.FLOAT, codes.shape
        number = self.edit.insert(read, "Cast", [codes], {"to": floats}, dtype=floats, shape=shape)
        zero = constant(input_of(read, 2))
        if zero is not None:
            shift = self.edit.constant(_beside(zero.astype(np.float32), read), scale)
            number = self.edit.insert(read, "Sub", [number, shift], dtype=floats, shape=shape)
        factor = constant(scale)
        assert factor is not None
        self.edit.become(read, "Mul", [number, self.edit.constant(_beside(factor, read), scale)])

    def _fuse(self, node: ir.Node, read: ir.Node, *, turned: bool) -> None:
        flipped = node.attributes.get_int("transB", 0) != 0
        summed = int(turned != flipped)
        key = (read.outputs[0], summed)
        if key not in self._made:
            self._made[key] = self._packed(read, summed)
        packed = self._made[key]
        if packed is None:
            self.decline(node, "MatMulNBits takes no such weights")
            return
        bias = _bias(node, packed.channels)
        if bias is None:
            self.decline(node, "MatMulNBits takes no such bias")
            return
        added = [None, self.edit.constant(bias, read.outputs[0])] if bias.size else []
        inputs = [node.inputs[0], *packed.values, *added]
        self.edit.become(node, "MatMulNBits", _without_tail(inputs), packed.attributes, origins=[read])
        node.domain = DOMAIN

    def _packed(self, read: ir.Node, summed: int) -> _Packed | None:
        blocks = _blocks(read, summed)
        if blocks is None or read.inputs[0] is None:
            return None
        arrays = (blocks.codes, blocks.scale, blocks.zero)
        values = [None if array is None else self.edit.constant(array, read.inputs[0]) for array in arrays]
        return _Packed(values, blocks.channels, blocks.attributes)


def _is_whole(x: ir.Value) -> bool:
    """Whether the runtime has a kernel that multiplies with the whole numbers behind x."""
    read = made_by(x, "DequantizeLinear")
    return read is not None and read.attributes.get_int("block_size", 0) == 0


@dataclass(frozen=True)
class _Packed:
    """Numbers, scales and zeros in the graph, as MatMulNBits has them."""

    values: list[ir.Value | None]
    channels: int
    attributes: dict[str, Any]


class _Blocks:
    """[channels, blocks, bytes], two numbers in a byte, the lower one first."""

    def __init__(self, rows: Array, scale: Array, zero: Array | None, block: int) -> None:
        """Unsigned numbers of one byte each; the last block is filled up with what nobody multiplies with."""
        self.channels, length = rows.shape
        count = -(-length // block)
        filled = np.zeros((self.channels, count * block), np.uint8)
        filled[:, :length] = rows
        whole = (self.channels, count)
        self.codes = _pairs(filled).reshape(*whole, block // 2)
        self.scale = np.ascontiguousarray(np.broadcast_to(scale, whole))
        self.zero = None if zero is None else _pairs(np.broadcast_to(zero, whole))
        sizes = {"K": length, "N": self.channels, "block_size": block}
        self.attributes = {**sizes, "bits": 4, "accuracy_level": FLOAT32}


def _pairs(numbers: Array) -> Array:
    even: Array = np.pad(numbers, ((0, 0), (0, numbers.shape[1] % 2)))
    return np.asarray(even[:, 0::2] | even[:, 1::2] << 4)


def _blocks(read: ir.Node, summed: int) -> _Blocks | None:
    """None where the kernel takes no such blocks."""
    codes, scale, zero = (constant(input_of(read, place)) for place in range(3))
    block, axis = read.attributes.get_int("block_size", 0), read.attributes.get_int("axis", 1) % 2
    assert read.inputs[0] is not None and read.inputs[0].dtype is not None
    if codes is None or scale is None or codes.ndim != 2 or codes.shape[summed] < _BLOCKS[0]:
        return None
    if block and (block not in _BLOCKS or axis != summed or scale.ndim != 2):
        return None
    if not block and scale.size != 1 and axis == summed:
        return None
    shift = _FOUR_BITS[read.inputs[0].dtype]

    def rows(array: Array) -> Array:
        return array.T if summed == 0 else array

    def parameters(array: Array) -> Array:
        return rows(array) if block else array.reshape(-1, 1)

    unsigned = None
    if zero is not None or not shift:  # without one, the kernel takes 8
        unsigned = np.zeros_like(scale, np.uint8) if zero is None else (zero.astype(np.int8) + shift).astype(np.uint8)
        unsigned = parameters(unsigned)
    numbers = (rows(codes).astype(np.int8) + shift).astype(np.uint8)
    return _Blocks(numbers, parameters(scale), unsigned, block or _OWN_BLOCK)


def _bias(node: ir.Node, channels: int) -> Array | None:
    """What a Gemm adds to each row; empty where there is nothing; None where it is something else."""
    if node.op_type == "MatMul":
        return np.empty(0, np.float32)
    added, attributes = input_of(node, 2), node.attributes
    if attributes.get_float("alpha", 1.0) != 1 or attributes.get_int("transA", 0) != 0:
        return None
    if added is None:
        return np.empty(0, np.float32)
    array = constant(added)
    if array is None or attributes.get_float("beta", 1.0) != 1 or array.shape[-1:] != (channels,):
        return None
    return array.reshape(-1) if array.size == channels else None


def _beside(parameter: Array, read: ir.Node) -> Array:
    """In a shape that broadcasts with the weights."""
    if parameter.size == 1:
        return parameter.reshape(())
    assert read.inputs[0] is not None
    dims = rank(read.inputs[0]) or 0
    place = read.attributes.get_int("axis", 1) % dims
    return parameter.reshape([-1 if dim == place else 1 for dim in range(dims)])


def _without_tail(values: list[ir.Value | None]) -> list[ir.Value | None]:
    while values[-1] is None:
        values = values[:-1]
    return values
