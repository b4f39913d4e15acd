"""Weights and activations in 8 bits: `x` becomes DequantizeLinear(QuantizeLinear(x)), and each weight a constant of
int8 behind a DequantizeLinear. A runtime computes such products in integers.

Static: each activation has one range, which was measured on samples. Dynamic: it is found at run time, call by call.
By rows: each row of an activation is moved and divided first, so that it lies between 0 and 1, and its products are
multiplied and moved back: x = low + size u, so x W = size (u W) + low (the sums of W).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array
from compiler.errors import UsageError, did_you_mean
from compiler.ir.provenance import inherit
from compiler.passes.rewriting import Edit, constant, is_op, made_by
from compiler.precision.candidates import Candidate, candidates, is_kept, own_precision
from compiler.precision.layer_error import with_errors
from compiler.precision.ranges import Range, ranges
from compiler.precision.recipe import Layer, Recipe, Samples
from compiler.precision.smooth import Ranges, smooth

METHODS = ("auto", "static", "dynamic", "rows")
_LARGEST = 127  # code of a weight, to either side
_LEAST = 1e-30  # what a row is divided by that holds nothing but zeros

# These hand on what they are given, so that their result keeps to the range of their input.
_HANDING_ON = ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "MaxPool", "Identity")
# A convolution and one of these become one kernel; the range is that of the result.
_CLIPPING = ("Relu", "Clip")


def to_int8(model: ir.Model, recipe: Recipe, samples: Samples | None) -> tuple[Layer, ...]:
    """In place."""
    method = _method(recipe, samples)
    found = list(candidates(model))
    left = {one.node: why for one in found if (why := _why_not(one, recipe, method))}
    layers = [_layer(one, left.get(one.node, "")) for one in found]
    chosen = [one for one in found if one.node not in left]
    before = model.clone() if samples else None
    edit = Edit(model)
    by_rows = {one.node for one in chosen} if method == "rows" else set()
    if samples is not None:
        ranges: Ranges = "either" if method == "auto" else "rows" if method == "rows" else "one"
        products = [one for one in chosen if not is_op(one.node, "Conv")]
        able = [one for one in products if _able_by_rows(one)]
        by_rows = smooth(model, edit, able, samples, ranges)
        smooth(model, edit, [one for one in products if one not in able], samples)
    _by_rows(model, edit, [one for one in chosen if one.node in by_rows], signed=recipe.signed)
    others = [one for one in chosen if one.node not in by_rows]
    if method == "dynamic":
        _dynamic(model, edit, others)
    elif samples is not None and others:
        _static(model, edit, others, samples, recipe)
    edit.finish()
    return with_errors(layers, before, model, samples)


def _method(recipe: Recipe, samples: Samples | None) -> str:
    if recipe.method not in METHODS:
        hint = did_you_mean(recipe.method, METHODS) or f"one of {', '.join(METHODS)}"
        raise UsageError("bad-option", f"int8 knows no method '{recipe.method}'", where="--method", hint=hint)
    if recipe.method == "static" and samples is None:
        raise UsageError(
            "no-calibration",
            "static int8 needs data",
            why="the range of each activation is measured on it",
            hint="--calibration FILE, or --method dynamic",
        )
    return "dynamic" if recipe.method == "auto" and samples is None else recipe.method


def _why_not(one: Candidate, recipe: Recipe, method: str) -> str:
    if is_kept(one.node, recipe.keep):
        return "--keep names it"
    if (own := own_precision(one.node, recipe) or recipe.precision) != "int8":
        return f"it was asked to be in {own}"
    if method in ("dynamic", "rows") and is_op(one.node, "Conv"):
        return "no runtime is fast at convolutions whose ranges are found at run time; --calibration makes it static"
    if one.bias is not None and constant(one.bias) is None:
        return "its bias is computed"
    if is_op(one.node, "Gemm") and one.bias is not None and one.node.attributes.get_float("beta", 1.0) != 1.0:
        return "its bias is scaled"
    if method == "rows" and not _able_by_rows(one):
        return "its products are scaled"
    return ""


def _able_by_rows(one: Candidate) -> bool:
    return not is_op(one.node, "Gemm") or one.node.attributes.get_float("alpha", 1.0) == 1.0


def _layer(one: Candidate, left: str) -> Layer:
    array = one.array
    name, operator = one.node.name or "", one.node.op_type
    if left:
        return Layer(name, operator, "float32", 32, array.size, left)
    return Layer(name, operator, "int8", 8 + 32 * array.shape[one.channel] / array.size, array.size)


# -- activations ------------------------------------------------------------------------------------------------


def _static(model: ir.Model, edit: Edit, chosen: Sequence[Candidate], samples: Samples, recipe: Recipe) -> None:
    results = _results(model, chosen)
    activations = list(dict.fromkeys([*(one.data for one in chosen), *results]))
    sources = {value: _source(value) for value in activations}
    images = {sources[value] for value in activations if value in results or _is_image(value, chosen)}
    names = {str(source.name): source in images for source in sources.values()}
    found: dict[str, Range] = {}
    for in_images, usual in ((True, "mse"), (False, "minmax")):
        these = [name for name, image in names.items() if image == in_images]
        found |= ranges(model, these, samples, usual if recipe.calibrator == "auto" else recipe.calibrator)
    allowed = {value: found[str(source.name)] for value, source in sources.items()}
    taken = {one.node: allowed[one.data] for one in chosen}  # before anyone takes something else
    for value in activations:
        takers = list(value.uses()) if value in results else [(one.node, 0) for one in chosen if one.data is value]
        _hand(_rounded(model, edit, value, allowed[value], signed=recipe.signed), takers)
    for one in chosen:
        # Where activations are signed, sums are added up in float32, and the bias with them.
        _quantize_weights(edit, one, None if recipe.signed else taken[one.node])


def _is_image(value: ir.Value, chosen: Sequence[Candidate]) -> bool:
    """What goes into a convolution. Its outliers may be clipped; those of a token often carry what it means."""
    return any(one.data is value and is_op(one.node, "Conv") for one in chosen)


def _results(model: ir.Model, chosen: Sequence[Candidate]) -> dict[ir.Value, None]:
    """What convolutions give, and sums of it: rounded for everyone, so that it stays in integers between kernels."""
    found = dict.fromkeys(_clipped(one.node) for one in chosen if is_op(one.node, "Conv"))
    for node in model.graph:
        sides = [value for value in node.inputs if value is not None and constant(value) is None]
        if is_op(node, "Add") and len(sides) == 2 and any(side in found for side in sides):
            found |= dict.fromkeys([*sides, _clipped(node)])
    return {value: None for value in found if value.uses()}


def _clipped(node: ir.Node) -> ir.Value:
    """The result of a node, or of what follows within the same kernel."""
    value = node.outputs[0]
    users = [user for user, _ in value.uses()]
    alone = len(users) == 1 and not value.is_graph_output()
    return users[0].outputs[0] if alone and is_op(users[0], *_CLIPPING) and users[0].inputs[0] is value else value


def _source(value: ir.Value) -> ir.Value:
    """Where a value was before it was handed on."""
    while (node := made_by(value, *_HANDING_ON)) is not None and node.inputs[0] is not None:
        value = node.inputs[0]
    return value


def _rounded(model: ir.Model, edit: Edit, value: ir.Value, allowed: Range, *, signed: bool) -> ir.Value:
    step, zero_point = (allowed.signed_scale, np.int8(0)) if signed else (allowed.scale, np.uint8(allowed.zero))
    scale = edit.constant(np.asarray(step, np.float32), value)
    zero = edit.constant(np.asarray(zero_point), value)
    codes = _node(
        edit, value, "QuantizeLinear", [value, scale, zero], ir.DataType.INT8 if signed else ir.DataType.UINT8
    )
    rounded = _node(edit, value, "DequantizeLinear", [codes.outputs[0], scale, zero], ir.DataType.FLOAT)
    _behind(model, value, [codes, rounded])
    return rounded.outputs[0]


def _dynamic(model: ir.Model, edit: Edit, chosen: Sequence[Candidate]) -> None:
    for value in dict.fromkeys(one.data for one in chosen):
        codes = _node(edit, value, "DynamicQuantizeLinear", [value], ir.DataType.UINT8, outputs=3)
        _, scale, zero = codes.outputs
        for extra, dtype in ((scale, ir.DataType.FLOAT), (zero, ir.DataType.UINT8)):
            extra.type, extra.shape = ir.TensorType(dtype), ir.Shape(())
        rounded = _node(edit, value, "DequantizeLinear", [codes.outputs[0], scale, zero], ir.DataType.FLOAT)
        _behind(model, value, [codes, rounded])
        _hand(rounded.outputs[0], [(one.node, 0) for one in chosen if one.data is value])
    for one in chosen:
        _quantize_weights(edit, one, None)


def _by_rows(model: ir.Model, edit: Edit, chosen: Sequence[Candidate], *, signed: bool) -> None:
    """A row that is small beside the others keeps all of its steps."""
    sums = {one.node: _sums(_quantize_weights(edit, one, None), one) for one in chosen}
    for value in dict.fromkeys(one.data for one in chosen):
        base, size, part = _part(model, edit, value, signed=signed)
        rounded = _rounded(model, edit, part, Range(-1.0 if signed else 0.0, 1.0), signed=signed)
        for one in chosen:
            if one.data is value:
                one.node.replace_input_with(0, rounded)
                _back(edit, one, base, size, sums[one.node])


def _part(model: ir.Model, edit: Edit, value: ir.Value, *, signed: bool) -> tuple[ir.Value, ir.Value, ir.Value]:
    """x = base + size part, row by row. Codes that lie around zero want the middle of the row as its base."""

    def made(operator: str, *inputs: ir.Value) -> ir.Value:
        nodes.append(_node(edit, value, operator, inputs, ir.DataType.FLOAT))
        return nodes[-1].outputs[0]

    nodes: list[ir.Node] = []
    least, last = edit.constant(np.asarray(_LEAST, np.float32), value), edit.constant(np.asarray([-1]), value)
    base, high = made("ReduceMin", value, last), made("ReduceMax", value, last)
    if signed:
        half = edit.constant(np.asarray(0.5, np.float32), value)
        base = made("Mul", made("Add", base, high), half)
    size = made("Max", made("Sub", high, base), least)
    for node in nodes:
        node.outputs[0].shape = None if value.shape is None else ir.Shape([*value.shape[:-1], 1])
    part = made("Div", made("Sub", value, base), size)
    _behind(model, value, nodes)
    return base, size, part


def _sums(weights: Array, one: Candidate) -> Array:
    return np.asarray(weights.sum(axis=one.summed), np.float32)


def _back(edit: Edit, one: Candidate, base: ir.Value, size: ir.Value, sums: Array) -> None:
    """Behind the products, and before a bias."""
    node, bias = one.node, one.bias
    if is_op(node, "Gemm"):
        weights = node.inputs[1]
        assert weights is not None
        if node.attributes.get_int("transB", 0):
            sides = None if weights.shape is None else ir.Shape(list(weights.shape)[::-1])
            weights = edit.insert(node, "Transpose", [weights], {"perm": [1, 0]}, dtype=weights.dtype, shape=sides)
        edit.become(node, "MatMul", [node.inputs[0], weights])
    moved = edit.insert(node, "Mul", [base, edit.constant(sums, one.weights)], dtype=base.dtype)
    result = node.outputs[0]
    moved.shape = result.shape
    for operator, other in (("Mul", size), ("Add", moved), ("Add", bias)):
        if other is not None:
            result = edit.follow(node, result, operator, {}, "products")
            behind = result.producer()
            assert behind is not None
            behind.resize_inputs(2)
            behind.replace_input_with(1, other)
            node = behind


def _node(
    edit: Edit, value: ir.Value, operator: str, inputs: Sequence[ir.Value], dtype: ir.DataType, outputs: int = 1
) -> ir.Node:
    name = edit.fresh(f"{value.name}_{operator.lower()}")
    node = ir.node(operator, inputs, num_outputs=outputs, name=name)
    for place, output in enumerate(node.outputs):
        output.name = edit.fresh(f"{name}_{place}" if place else f"{name}_out")
    node.outputs[0].type, node.outputs[0].shape = ir.TensorType(dtype), value.shape
    return node


def _behind(model: ir.Model, value: ir.Value, nodes: Sequence[ir.Node]) -> None:
    """As soon as the value is there; an input is there from the start."""
    producer = value.producer()
    if producer is not None:
        inherit(nodes, [producer])
        model.graph.insert_after(producer, nodes)
    else:
        model.graph.insert_before(model.graph[0], nodes)


def _hand(value: ir.Value, takers: Iterable[tuple[ir.Node, int]]) -> None:
    for node, index in takers:
        node.replace_input_with(index, value)


# -- weights ----------------------------------------------------------------------------------------------------


def _quantize_weights(edit: Edit, one: Candidate, data: Range | None) -> Array:
    """Symmetric, with a scale for each output. A bias is as fine as the sums that it is added to. What is left of the
    weights is returned."""
    array = one.array.astype(np.float64)
    others = tuple(axis for axis in range(array.ndim) if axis != one.channel)
    largest = np.abs(array).max(axis=others)
    steps = np.where(largest > 0, largest / _LARGEST, 1.0).astype(np.float32)
    spread = np.expand_dims(steps.astype(np.float64), others)
    codes = np.clip(np.rint(array / spread), -_LARGEST, _LARGEST).astype(np.int8)
    _replace(edit, one, 1, codes, steps, {"axis": one.channel})
    left = codes * spread
    bias = constant(one.bias)
    if bias is None or data is None:
        return left
    fine = np.float32(data.scale) * steps
    limits = np.iinfo(np.int32)
    sums = np.clip(
        np.rint(np.broadcast_to(bias.reshape(-1), steps.shape).astype(np.float64) / fine), limits.min, limits.max
    ).astype(np.int32)
    _replace(edit, one, 2, sums, fine, {"axis": 0})
    return left


def _replace(edit: Edit, one: Candidate, index: int, codes: Array, steps: Array, attributes: Mapping[str, int]) -> None:
    old = one.node.inputs[index]
    assert old is not None
    held = [edit.constant(codes, old), edit.constant(steps, old)]
    new = edit.insert(one.node, "DequantizeLinear", held, attributes, dtype=old.dtype, shape=ir.Shape(codes.shape))
    one.node.replace_input_with(index, new)
    edit.prune([old])
