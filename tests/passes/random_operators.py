"""What random graphs are made of: each function adds an operator, or a few that belong together, where it can."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from onnx import TensorProto, helper
from random_graphs import _TYPES, ONE, Dim, Maker, Value, fixed

Operator = Callable[[Maker], None]


def is_float(value: Value) -> bool:
    return value.dtype.startswith("float")


def not_bool(value: Value) -> bool:
    return value.dtype not in ("bool", "uint8")


def broadcast(one: Sequence[Dim], other: Sequence[Dim]) -> list[Dim] | None:
    rank = max(len(one), len(other))
    pairs = zip([ONE] * (rank - len(one)) + list(one), [ONE] * (rank - len(other)) + list(other), strict=True)
    result = []
    for a, b in pairs:
        if a.at == b.at:
            result.append(a if a.fixed else b)
        elif a == ONE or b == ONE:
            result.append(b if a == ONE else a)
        else:
            return None
    return result


def narrow(maker: Maker, dims: Sequence[Dim]) -> list[int]:
    """A constant's shape that is broadcast to these dims without changing them."""
    kept = list(dims)[int(maker.rng.integers(len(dims) + 1)) :]
    return [dim.at[0] if dim.fixed and maker.chance(0.6) else 1 for dim in kept]


# -- element by element -----------------------------------------------------------------------------------------


def unary(maker: Maker) -> None:
    value = maker.value(is_float)
    if value is not None:
        operator = maker.pick(("Relu", "Sigmoid", "Tanh", "Abs", "Neg", "Erf", "Softplus", "HardSwish", "Identity"))
        maker.emit(operator, [value.name], value.dtype, value.dims)


def repeated(maker: Maker) -> None:
    """f(f(x))"""
    value = maker.value(is_float)
    if value is not None:
        operator = maker.pick(("Relu", "Abs", "Neg", "Identity"))
        maker.emit(operator, [maker.hidden(operator, [value.name])], value.dtype, value.dims)


def binary(maker: Maker) -> None:
    one = maker.value(not_bool)
    other = maker.value(lambda value: one is not None and value.dtype == one.dtype)
    dims = broadcast(one.dims, other.dims) if one is not None and other is not None else None
    if one is not None and other is not None and dims is not None:
        maker.emit(maker.pick(("Add", "Sub", "Mul", "Max", "Min")), [one.name, other.name], one.dtype, dims)


def with_constant(maker: Maker) -> None:
    value = maker.value(not_bool)
    if value is None:
        return
    array = maker.numbers(narrow(maker, value.dims), value.dtype)
    operator = maker.pick(("Add", "Sub", "Mul", "Add", "Mul", "Div") if is_float(value) else ("Add", "Sub", "Mul"))
    if operator == "Div":
        array = (np.abs(array) + np.asarray(0.5, array.dtype)).astype(array.dtype)
    names = [value.name, maker.constant(array)]
    if operator in ("Add", "Mul") and maker.chance(0.3):
        names.reverse()
    maker.emit(operator, names, value.dtype, value.dims)


def neutral(maker: Maker) -> None:
    value = maker.value(not_bool)
    if value is None:
        return
    operator, number = maker.pick((("Add", 0), ("Sub", 0), ("Mul", 1), ("Div", 1), ("Pow", 1)))
    if operator == "Pow" and not is_float(value):
        return
    shape = narrow(maker, value.dims)
    array = np.full(shape, number, value.dtype)
    maker.emit(operator, [value.name, maker.constant(array)], value.dtype, value.dims)


def cast(maker: Maker) -> None:
    value = maker.value()
    if value is None:
        return
    for _ in range(int(maker.rng.integers(1, 4))):
        whole = not is_float(value)
        dtype = maker.pick(
            ("float32", "float64", "float16", "int64", "int32", "bool") if whole else ("float32", "float64")
        )
        value = maker.emit("Cast", [value.name], dtype, value.dims, to=_TYPES[dtype])


def clip(maker: Maker) -> None:
    value = maker.value(lambda value: value.dtype in ("float32", "float64", "int64"))
    if value is None:
        return
    bounds = ["", ""]
    for place, number in enumerate((-1, 2)):
        if maker.chance(0.6):
            bounds[place] = maker.constant(np.array(number, value.dtype))
    maker.emit("Clip", [value.name, *bounds], value.dtype, value.dims)


def compare_and_choose(maker: Maker) -> None:
    value = maker.value(is_float)
    if value is None:
        return
    zero = maker.constant(np.array(0, value.dtype))
    condition = maker.hidden(maker.pick(("Greater", "Less")), [value.name, zero])
    if maker.chance(0.3):
        condition = maker.hidden("Not", [maker.hidden("Not", [condition])])
    maker.emit("Where", [condition, value.name, zero], value.dtype, value.dims)


def dropout(maker: Maker) -> None:
    value = maker.value(is_float)
    if value is not None:
        maker.emit("Dropout", [value.name], value.dtype, value.dims)


# -- moving elements --------------------------------------------------------------------------------------------


def transpose(maker: Maker) -> None:
    value = maker.value(lambda value: value.rank > 1)
    if value is None:
        return
    for _ in range(int(maker.rng.integers(1, 3))):
        perm = [int(axis) for axis in maker.rng.permutation(value.rank)]
        value = maker.emit("Transpose", [value.name], value.dtype, [value.dims[axis] for axis in perm], perm=perm)


def unsqueeze(maker: Maker) -> None:
    value = maker.value(lambda value: value.rank < 5)
    if value is not None:
        axis = int(maker.rng.integers(value.rank + 1))
        dims = [*value.dims[:axis], ONE, *value.dims[axis:]]
        maker.emit("Unsqueeze", [value.name, maker.ints(axis)], value.dtype, dims)


def squeeze(maker: Maker) -> None:
    value = maker.value(lambda value: ONE in value.dims and value.rank > 1)
    if value is not None:
        axis = value.dims.index(ONE)
        dims = [*value.dims[:axis], *value.dims[axis + 1 :]]
        maker.emit("Squeeze", [value.name, maker.ints(axis)], value.dtype, dims)


def flatten(maker: Maker) -> None:
    value = maker.value(lambda value: value.rank > 1)
    if value is not None:
        axis = int(maker.rng.integers(1, value.rank))
        maker.emit(
            "Flatten", [value.name], value.dtype, [product(value.dims[:axis]), product(value.dims[axis:])], axis=axis
        )


def product(dims: Sequence[Dim]) -> Dim:
    total = ONE
    for dim in dims:
        total = total * dim
    return total


def reshape(maker: Maker) -> None:
    """Two neighbouring dims become one; the target is a constant, or computed from the shape."""
    value = maker.value(lambda value: value.rank > 1)
    if value is None:
        return
    place = int(maker.rng.integers(value.rank - 1))
    dims = [*value.dims[:place], value.dims[place] * value.dims[place + 1], *value.dims[place + 2 :]]
    target = computed_shape(maker, value, dims, place) if maker.chance(0.5) else constant_shape(maker, dims, place)
    if target is not None:
        maker.emit("Reshape", [value.name, target], value.dtype, dims)


def constant_shape(maker: Maker, dims: Sequence[Dim], merged: int) -> str | None:
    numbers = []
    for place, dim in enumerate(dims):
        if dim.fixed:
            numbers.append(dim.at[0])
        elif place < merged:
            numbers.append(0)
        else:
            numbers.append(-1)
    return maker.ints(*numbers) if numbers.count(-1) < 2 else None


def computed_shape(maker: Maker, value: Value, dims: Sequence[Dim], merged: int) -> str:
    shape = maker.hidden("Shape", [value.name])
    parts = []
    for place, dim in enumerate(dims):
        source = place if place <= merged else place + 1
        if dim.fixed and maker.chance(0.5):
            parts.append(maker.ints(dim.at[0]))
            continue
        part = entry(maker, shape, source)
        if place == merged:
            part = maker.hidden("Mul", [part, entry(maker, shape, source + 1)])
        parts.append(part)
    return maker.hidden("Concat", parts, axis=0)


def entry(maker: Maker, shape: str, place: int) -> str:
    """One size as a list of one, in the ways of the exporters."""
    way = int(maker.rng.integers(3))
    if way == 0:
        return maker.hidden("Gather", [shape, maker.ints(place)], axis=0)
    if way == 1:
        scalar = maker.hidden("Gather", [shape, maker.constant(np.array(place, np.int64))], axis=0)
        return maker.hidden("Unsqueeze", [scalar, maker.ints(0)])
    return maker.hidden("Slice", [shape, maker.ints(place), maker.ints(place + 1), maker.ints(0)])


def cut(maker: Maker) -> None:
    value = maker.value(lambda value: value.rank > 0)
    if value is None:
        return
    for _ in range(int(maker.rng.integers(1, 3))):
        axis = int(maker.rng.integers(value.rank))
        dim = value.dims[axis]
        last = min(dim.at)
        start = int(maker.rng.integers(last))
        whole = maker.chance(0.3)
        end = 2**63 - 1 if whole or not dim.fixed else int(maker.rng.integers(start + 1, last + 1))
        start = 0 if whole else start
        at = tuple(min(end, size) - start for size in dim.at)
        dims = list(value.dims)
        dims[axis] = dim if whole else Dim(at, dim.fixed)
        given = [maker.ints(start), maker.ints(end), maker.ints(axis - value.rank if maker.chance(0.3) else axis)]
        value = maker.emit("Slice", [value.name, *given], value.dtype, dims)


def cut_to_size(maker: Maker) -> None:
    """A Slice from 0 to what Shape says."""
    value = maker.value(lambda value: value.rank > 0)
    if value is not None:
        axis = int(maker.rng.integers(value.rank))
        size = entry(maker, maker.hidden("Shape", [value.name]), axis)
        maker.emit("Slice", [value.name, maker.ints(0), size, maker.ints(axis)], value.dtype, value.dims)


def concat(maker: Maker) -> None:
    value = maker.value(lambda value: value.rank > 0)
    if value is None:
        return
    axis = int(maker.rng.integers(value.rank))
    others = [
        other
        for other in maker.values
        if other.dtype == value.dtype
        and other.rank == value.rank
        and all(a.at == b.at for place, (a, b) in enumerate(zip(value.dims, other.dims, strict=True)) if place != axis)
    ]
    parts = [value, *(maker.pick(others) for _ in range(int(maker.rng.integers(0, 3))))]
    dims = list(value.dims)
    for part in parts[1:]:
        dims[axis] = dims[axis] + part.dims[axis]
    if max(dims[axis].at) <= 64:
        maker.emit("Concat", [part.name for part in parts], value.dtype, dims, axis=axis)


def split(maker: Maker) -> None:
    value = maker.value(lambda value: any(dim.fixed and dim.at[0] > 1 for dim in value.dims))
    if value is None:
        return
    axis = next(place for place, dim in enumerate(value.dims) if dim.fixed and dim.at[0] > 1)
    first = int(maker.rng.integers(1, value.dims[axis].at[0]))
    rest = value.dims[axis].at[0] - first
    names = [maker.name("v"), maker.name("v")]
    maker.nodes.append(helper.make_node("Split", [value.name, maker.ints(first, rest)], names, axis=axis))
    for name, size in zip(names, (first, rest), strict=True):
        dims = list(value.dims)
        dims[axis] = fixed(size)
        maker.values.append(Value(name, value.dtype, tuple(dims)))
    if maker.chance(0.5):
        maker.emit("Concat", names, value.dtype, value.dims, axis=axis)


def expand(maker: Maker) -> None:
    value = maker.value()
    other = maker.value()
    dims = broadcast(value.dims, other.dims) if value is not None and other is not None else None
    if value is not None and other is not None and dims is not None:
        target = maker.hidden("Shape", [other.name])
        result = maker.emit("Expand", [value.name, target], value.dtype, dims)
        if not_bool(value) and other.dtype == value.dtype:
            maker.emit("Mul", [result.name, other.name], value.dtype, dims)


def gather(maker: Maker) -> None:
    value = maker.value(lambda value: value.rank > 0 and value.dims[0].fixed)
    if value is not None:
        index = int(maker.rng.integers(value.dims[0].at[0]))
        maker.emit(
            "Gather", [value.name, maker.constant(np.array(index, np.int64))], value.dtype, value.dims[1:], axis=0
        )


# -- weights ----------------------------------------------------------------------------------------------------


def channels_first(value: Value) -> bool:
    return is_float(value) and value.dtype != "float16" and value.rank in (3, 4) and value.dims[1].fixed


def affine(maker: Maker, value: Value, channels: int, shape: Sequence[int]) -> Value:
    """What may follow a linear operator."""
    for _ in range(int(maker.rng.integers(0, 4))):
        if maker.chance(0.4) and value.rank > 1 and value.dims[1] == fixed(channels):
            spread = np.abs(maker.numbers([channels], value.dtype)) + np.asarray(0.5, value.dtype)
            given = [maker.weight([channels], value.dtype) for _ in range(3)] + [
                maker.constant(spread.astype(value.dtype))
            ]
            value = maker.emit("BatchNormalization", [value.name, *given], value.dtype, value.dims)
        else:
            operator = maker.pick(("Add", "Mul", "Sub"))
            array = maker.numbers(shape if maker.chance(0.7) else [], value.dtype)
            value = maker.emit(operator, [value.name, maker.constant(array)], value.dtype, value.dims)
    return value


def conv(maker: Maker) -> None:
    value = maker.value(channels_first)
    if value is None:
        return
    spatial = value.rank - 2
    channels = value.dims[1].at[0]
    group = maker.pick([count for count in (1, 2, 3) if channels % count == 0])
    name = value.name
    if maker.chance(0.4):
        pads = [0, 0, *[1] * spatial] * 2
        name = maker.hidden(
            "Pad", [name, maker.ints(*pads), *([maker.constant(np.array(0, value.dtype))] if maker.chance(0.5) else [])]
        )
        dims = [*value.dims[:2], *(dim + fixed(2) for dim in value.dims[2:])]
    else:
        dims = list(value.dims)
    if maker.chance(0.3):
        filters = 2
        weight = maker.weight([channels, filters, *[1] * spatial], value.dtype)
        operator, results = "ConvTranspose", filters * group
    else:
        results = 2 * group
        weight = maker.weight([results, channels // group, *[1] * spatial], value.dtype)
        operator = "Conv"
    given = [name, weight, *([maker.weight([results], value.dtype)] if maker.chance(0.5) else [])]
    made = maker.emit(operator, given, value.dtype, [dims[0], fixed(results), *dims[2:]], group=group)
    affine(maker, made, results, [results, *[1] * spatial])


def pool(maker: Maker) -> None:
    value = maker.value(lambda value: channels_first(value) and all(min(dim.at) >= 1 for dim in value.dims))
    if value is None:
        return
    spatial = value.rank - 2
    low = maker.pick((0.0, -np.inf))
    pads = [0, 0, *[1] * spatial] * 2
    padded = maker.hidden("Pad", [value.name, maker.ints(*pads), maker.constant(np.array(low, value.dtype))])
    operator, extra = maker.pick((("MaxPool", {}), ("AveragePool", {"count_include_pad": 1}), ("AveragePool", {})))
    if operator == "AveragePool" and low != 0:
        return
    dims = [*value.dims[:2], *(dim if dim.fixed else Dim(dim.at, fixed=False) for dim in value.dims[2:])]
    maker.emit(operator, [padded], value.dtype, dims, kernel_shape=[3] * spatial, **extra)


def matmul(maker: Maker) -> None:
    value = maker.value(lambda value: is_float(value) and value.rank > 1 and value.dims[-1].fixed)
    if value is None:
        return
    inner, columns = value.dims[-1].at[0], maker.size()
    if maker.chance(0.3):
        weight = maker.hidden("Transpose", [maker.weight([columns, inner], value.dtype)], perm=[1, 0])
    else:
        weight = maker.weight([inner, columns], value.dtype)
    made = maker.emit("MatMul", [value.name, weight], value.dtype, [*value.dims[:-1], fixed(columns)])
    affine(maker, made, columns, [columns])


def gemm(maker: Maker) -> None:
    value = maker.value(lambda value: is_float(value) and value.rank == 2 and value.dims[-1].fixed)
    if value is None:
        return
    inner, columns = value.dims[1].at[0], maker.size()
    turned = int(maker.chance(0.5))
    weight = maker.weight([columns, inner] if turned else [inner, columns], value.dtype)
    bias = [maker.weight([columns], value.dtype)] if maker.chance(0.5) else []
    factors = {"alpha": 0.5, "beta": 2.0} if maker.chance(0.3) else {}
    dims = [value.dims[0], fixed(columns)]
    made = maker.emit("Gemm", [value.name, weight, *bias], value.dtype, dims, transB=turned, **factors)
    affine(maker, made, columns, [columns])


# -- several that belong together -------------------------------------------------------------------------------


def again(maker: Maker) -> None:
    """A node that is there already, once more."""
    nodes = [node for node in maker.nodes if len(node.output) == 1 and node.output[0].startswith("v") and node.input]
    if nodes:
        node = maker.pick(nodes)
        old = next(value for value in maker.values if value.name == node.output[0])
        twin = Value(maker.name("v"), old.dtype, old.dims)
        maker.nodes.append(helper.make_node(node.op_type, list(node.input), [twin.name]))
        maker.nodes[-1].attribute.extend(node.attribute)
        maker.values.append(twin)


def norm(maker: Maker) -> None:
    """LayerNorm or RMSNorm, spelled out."""
    value = maker.value(lambda value: value.dtype in ("float32", "float64") and value.rank > 1 and value.dims[-1].fixed)
    if value is None:
        return
    size, name = value.dims[-1].at[0], value.name
    if maker.chance(0.5):
        name = maker.hidden("Sub", [name, maker.hidden("ReduceMean", [name, maker.ints(-1)], keepdims=1)])
    square = maker.hidden("Pow", [name, maker.constant(np.array(2, value.dtype))])
    mean = maker.hidden("ReduceMean", [square, maker.ints(-1)], keepdims=1)
    root = maker.hidden("Sqrt", [maker.hidden("Add", [mean, maker.constant(np.array(1e-5, value.dtype))])])
    scaled = maker.hidden("Div", [name, root])
    maker.emit("Mul", [scaled, maker.weight([size], value.dtype)], value.dtype, value.dims)


def gelu(maker: Maker) -> None:
    value = maker.value(lambda value: value.dtype in ("float32", "float64"))
    if value is None:
        return

    def number(content: float) -> str:
        return maker.constant(np.array(content, value.dtype))

    inner = maker.hidden("Erf", [maker.hidden("Div", [value.name, number(np.sqrt(2))])])
    half = maker.hidden("Mul", [value.name, number(0.5)])
    maker.emit("Mul", [half, maker.hidden("Add", [inner, number(1)])], value.dtype, value.dims)


def silu(maker: Maker) -> None:
    value = maker.value(is_float)
    if value is not None:
        maker.emit("Mul", [value.name, maker.hidden("Sigmoid", [value.name])], value.dtype, value.dims)


def softmax(maker: Maker) -> None:
    value = maker.value(lambda value: is_float(value) and value.rank > 0)
    if value is not None:
        maker.emit("Softmax", [value.name], value.dtype, value.dims, axis=-1)


def reduce(maker: Maker) -> None:
    value = maker.value(lambda value: is_float(value) and value.rank > 1)
    if value is not None:
        axis = int(maker.rng.integers(value.rank))
        dims = [*value.dims[:axis], ONE, *value.dims[axis + 1 :]]
        maker.emit(
            maker.pick(("ReduceMean", "ReduceSum", "ReduceMax")), [value.name, maker.ints(axis)], value.dtype, dims
        )


# -- graphs inside of graphs ------------------------------------------------------------------------------------


def branch(maker: Maker) -> None:
    """An If whose branches use values around it."""
    value = maker.value(is_float)
    if value is None:
        return
    # A sum of a norm is 0 but for rounding, and so no condition. These are all of one sign, and none of them, nor the
    # mean of a number and its negative, comes to 0.52.
    share = maker.hidden("ReduceMean", [maker.hidden("Sigmoid", [value.name])], keepdims=0)
    condition = maker.hidden("Greater", [share, maker.constant(np.array(0.52, value.dtype))])
    graphs = []
    for side in ("then", "else"):
        inner, out = maker.name("b"), maker.name("b")
        number = helper.make_tensor(maker.name("b"), _TYPES[value.dtype], [], [1.0 if maker.chance(0.5) else 2.0])
        nodes = [
            helper.make_node(maker.pick(("Identity", "Neg", "Relu")), [value.name], [inner]),
            helper.make_node("Mul", [inner, number.name], [out]),
        ]
        info = helper.make_tensor_value_info(out, _TYPES[value.dtype], None)
        graphs.append(helper.make_graph(nodes, side, [], [info], [number]))
    maker.emit("If", [condition], value.dtype, value.dims, then_branch=graphs[0], else_branch=graphs[1])


def loop(maker: Maker) -> None:
    """A Loop that adds an outer value to its state."""
    value = maker.value(is_float)
    if value is None:
        return
    step, going, state = (maker.name("b") for _ in range(3))
    on, grown, total = (maker.name("b") for _ in range(3))
    nodes = [
        helper.make_node("Identity", [going], [on]),
        helper.make_node("Tanh", [state], [grown]),
        helper.make_node("Add", [grown, value.name], [total]),
    ]
    kind = _TYPES[value.dtype]
    inputs = [
        helper.make_tensor_value_info(step, TensorProto.INT64, []),
        helper.make_tensor_value_info(going, TensorProto.BOOL, []),
        helper.make_tensor_value_info(state, kind, None),
    ]
    outputs = [
        helper.make_tensor_value_info(on, TensorProto.BOOL, []),
        helper.make_tensor_value_info(total, kind, None),
    ]
    body = helper.make_graph(nodes, "body", inputs, outputs)
    maker.emit("Loop", [maker.constant(np.array(2, np.int64)), "", value.name], value.dtype, value.dims, body=body)


OPERATORS: tuple[tuple[Operator, float], ...] = (
    (unary, 4), (repeated, 1), (binary, 4), (with_constant, 4), (neutral, 2), (cast, 2), (clip, 1),
    (compare_and_choose, 1), (dropout, 0.5), (transpose, 3), (unsqueeze, 1.5), (squeeze, 1.5), (flatten, 1),
    (reshape, 3), (cut, 2), (cut_to_size, 1), (concat, 2), (split, 1), (expand, 1.5), (gather, 0.7), (conv, 3),
    (pool, 1), (matmul, 3), (gemm, 2), (again, 2), (norm, 1), (gelu, 0.7), (silu, 0.7), (softmax, 0.7),
    (reduce, 1), (branch, 1), (loop, 0.7),
)  # fmt: skip
