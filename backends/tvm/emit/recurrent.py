"""LSTM, GRU and RNN: one product for the inputs of all steps, and a kernel that goes through the steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tvm import relax, te, tirx

from backends.tvm.emit.extents import Extent, expression
from backends.tvm.emit.op import Emit, Op, Result
from backends.tvm.emit.recurrent_scan import LANES, Activation, Cell, scan
from backends.tvm.emit.reductions import narrowed, widened
from backends.tvm.emit.slicing import slice_axis
from backends.tvm.lower import vector_math

_DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}

# The defaults of an activation's parameters; None where it has no such parameter.
_PARAMETERS: dict[str, tuple[float | None, float | None]] = {
    "affine": (1.0, 0.0),
    "elu": (1.0, None),
    "hardsigmoid": (0.2, 0.5),
    "leakyrelu": (0.01, None),
    "scaledtanh": (1.0, 1.0),
    "thresholdedrelu": (1.0, None),
}


class _Math:
    """Functions in a type: vectorised ones of our own for float32, the compiler's for the others."""

    def __init__(self, dtype: str) -> None:
        own = dtype == "float32"
        self.dtype = dtype
        self.exp: Activation = vector_math.exp if own else tirx.exp
        self.tanh: Activation = vector_math.tanh if own else tirx.tanh
        self.sigmoid: Activation = vector_math.sigmoid if own else tirx.sigmoid

    def const(self, value: float) -> Any:
        return tirx.const(value, self.dtype)

    def clamp(self, x: Any, low: float, high: float) -> Any:
        bounded = tirx.Select(x < self.const(low), self.const(low), x)
        return tirx.Select(bounded > self.const(high), self.const(high), bounded)

    def function(self, name: str, alpha: float, beta: float) -> Activation | None:
        c = self.const
        found: dict[str, Activation] = {
            "affine": lambda x: c(alpha) * x + c(beta),
            "elu": lambda x: tirx.Select(x < c(0), c(alpha) * (self.exp(x) - c(1)), x),
            "hardsigmoid": lambda x: self.clamp(c(alpha) * x + c(beta), 0, 1),
            "leakyrelu": lambda x: tirx.Select(x < c(0), c(alpha) * x, x),
            "relu": lambda x: tirx.Select(x < c(0), c(0), x),
            "scaledtanh": lambda x: c(alpha) * self.tanh(c(beta) * x),
            "sigmoid": self.sigmoid,
            "softplus": lambda x: tirx.Select(x > c(0), x, c(0)) + tirx.log(c(1) + self.exp(c(0) - tirx.abs(x))),
            "softsign": lambda x: x / (c(1) + tirx.abs(x)),
            "tanh": self.tanh,
            "thresholdedrelu": lambda x: tirx.Select(x > c(alpha), x, c(0)),
        }
        return found.get(name)


def _recurrent(op: Op) -> Result:
    cell = _cell(op)
    rows = bool(op.attr("layout", 0))  # sequences come first, then steps
    x = widened(op, op.x(0))
    if rows:
        x = op.emit(relax.op.permute_dims(x, [1, 0, 2]))
    steps, batch = x.ty.shape.values[:2]
    hidden = op.shape(2)[2]
    if not isinstance(hidden, int):
        op.refuse("its hidden size is only known at run time")
    units = -(-hidden // LANES) * LANES
    dtype, directions = str(x.ty.dtype), len(cell.reversed)
    inputs = _from_inputs(op, cell, x, hidden, units)
    weights = op.emit(relax.op.permute_dims(_filled(op, cell.gates, widened(op, op.x(2)), units), [0, 2, 1]))
    states = [
        _first(op, place, rows=rows, shape=[directions, batch, units], dtype=dtype)
        for place in (5, 6 if cell.kind == "LSTM" else 5)
    ]
    kernel = op.bb.add_func(
        scan(cell, _own(steps, "steps"), _own(batch, "batch"), hidden, units, dtype), op.type.lower()
    )
    results = op.emit(
        relax.call_tir(
            kernel,
            [inputs, weights, _extra(op, cell, units, dtype), _lengths(op, steps, batch), *states],
            [
                relax.TensorType([steps, directions, batch, units], dtype),
                relax.TensorType([directions, batch, units], dtype),
                relax.TensorType([directions, batch, units], dtype),
                relax.TensorType([directions, batch, cell.gates * units], dtype),
            ],
        )
    )
    outputs = []
    for place in range(3 if cell.kind == "LSTM" else 2):
        y = op.emit(relax.TupleGetItem(results, place))
        if units != hidden:
            y = slice_axis(op, y, 2 if place else 3, 0, hidden)
        if rows:
            y = op.emit(relax.op.permute_dims(y, [1, 0, 2] if place else [2, 0, 1, 3]))
        outputs.append(narrowed(op, y))
    return outputs


def _own(extent: Any, name: str) -> Extent:
    """A kernel is bound to whatever shapes it is called with: a name of its own for a size that is not fixed."""
    return extent if isinstance(extent, tirx.IntImm) else tirx.Var(name, "int64")


def _cell(op: Op) -> Cell:
    direction = op.attr("direction", "forward")
    backward = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[direction]
    return Cell(
        op.type,
        _activations(op, len(backward)),
        backward,
        linear_first=bool(op.attr("linear_before_reset", 0)),
        coupled=bool(op.attr("input_forget", 0)),
        peepholes=op.type == "LSTM" and op.has(7),
    )


def _activations(op: Op, directions: int) -> tuple[tuple[Activation, ...], ...]:
    default = _DEFAULTS[op.type]
    names = [name.lower() for name in op.attr("activations", None) or default * directions]
    alphas, betas = iter(op.attr("activation_alpha", None) or ()), iter(op.attr("activation_beta", None) or ())
    made: dict[tuple[Any, ...], Activation] = {}  # equal ones are one, which the kernel then need not choose from
    found = [_activation(op, made, name, alphas, betas) for name in names[: len(default) * directions]]
    return tuple(tuple(found[place : place + len(default)]) for place in range(0, len(found), len(default)))


def _activation(
    op: Op, made: dict[tuple[Any, ...], Activation], name: str, alphas: Iterator[float], betas: Iterator[float]
) -> Activation:
    alpha, beta = (
        0.0 if default is None else float(next(given, default))
        for default, given in zip(_PARAMETERS.get(name, (None, None)), (alphas, betas), strict=True)
    )
    key = (name, alpha, beta)
    if key not in made:
        arithmetic = _Math("float32" if op.dtype(0) != "float64" else "float64")
        function = arithmetic.function(name, alpha, beta)
        if function is None:
            op.refuse(f"there is no kernel for its activation {name}")
        clip = op.attr("clip", None)
        made[key] = function if clip is None else _clipped(arithmetic, float(clip), function)
    return made[key]


def _clipped(arithmetic: _Math, clip: float, function: Activation) -> Activation:
    return lambda x: function(arithmetic.clamp(x, -clip, clip))


def _from_inputs(op: Op, cell: Cell, x: relax.Expr, hidden: int, units: int) -> relax.Expr:
    """[steps, batch, directions * gates * units]: what the inputs and the biases add to each gate."""
    steps, batch, width = x.ty.shape.values
    total = len(cell.reversed) * cell.gates * units
    w = _filled(op, cell.gates, widened(op, op.x(1)), units)  # [directions, gates * units, width]
    flat = op.reshape(w, [total, width])
    table = op.emit(relax.op.permute_dims(flat, [1, 0]))
    rows = op.reshape(x, [op.settled(expression(steps) * batch), width])
    gates = op.emit(relax.op.matmul(rows, table))
    if op.has(3):
        own = _halves(op, cell)
        bias = op.emit(relax.op.add(own[0], _before_product(op, cell, own[1], hidden)))
        gates = op.emit(relax.op.add(gates, op.reshape(_filled(op, cell.gates, bias, units), [total])))
    return op.reshape(gates, [steps, batch, total])


def _halves(op: Op, cell: Cell) -> list[relax.Expr]:
    """The biases of the inputs and of the state, each [directions, gates * hidden]."""
    b = widened(op, op.x(3))
    half = int(b.ty.shape.values[1]) // 2
    return [slice_axis(op, b, 1, place * half, half) for place in (0, 1)]


def _before_product(op: Op, cell: Cell, bias: relax.Expr, hidden: int) -> relax.Expr:
    """The state's own biases; that of a GRU's candidate counts inside of the product if the reset gate comes after."""
    if not cell.linear_first:
        return bias

    def compute(given: te.Tensor) -> te.Tensor:
        zero = tirx.const(0, given.dtype)
        return te.compute(
            given.shape, lambda d, j: tirx.if_then_else(j < 2 * hidden, given[d, j], zero), name="T_without_candidate"
        )

    return op.te(compute, bias, name="bias")


def _extra(op: Op, cell: Cell, units: int, dtype: str) -> relax.Expr:
    """An LSTM's peepholes, or the bias of a GRU's candidate."""
    if cell.peepholes:
        return _filled(op, 3, widened(op, op.x(7)), units)
    if cell.linear_first and op.has(3):
        bias = _halves(op, cell)[1]
        hidden = int(bias.ty.shape.values[1]) // cell.gates
        return _filled(op, 1, slice_axis(op, bias, 1, 2 * hidden, hidden), units)
    return _zeros(op, [len(cell.reversed), 3 * units if cell.kind == "LSTM" else units], dtype)


def _filled(op: Op, gates: int, x: relax.Expr, units: int) -> relax.Expr:
    """[directions, gates * hidden, ...] with zeros behind each gate, up to `units`."""
    directions, total, *rest = x.ty.shape.values
    hidden = int(total) // gates
    if hidden == units:
        return x

    def compute(given: te.Tensor) -> te.Tensor:
        def element(d: Any, j: Any, *more: Any) -> Any:
            gate, unit = tirx.floordiv(j, units), tirx.floormod(j, units)
            return tirx.if_then_else(unit < hidden, given(d, gate * hidden + unit, *more), tirx.const(0, given.dtype))

        return te.compute([directions, gates * units, *rest], element, name="T_filled")

    return op.te(compute, x, name="filled")


def _lengths(op: Op, steps: Extent, batch: Extent) -> relax.Expr:
    if op.has(4):
        return op.emit(relax.op.astype(op.x(4), "int32"))

    def compute(size: Any, value: Any) -> te.Tensor:
        return te.compute((size,), lambda i: value.astype("int32"), name="T_lengths")

    return op.te(compute, expression(batch), expression(steps), name="lengths")


def _first(op: Op, place: int, *, rows: bool, shape: Sequence[Extent], dtype: str) -> relax.Expr:
    """The state before the first step, [directions, batch, units]."""
    if not op.has(place):
        return _zeros(op, shape, dtype)
    given = widened(op, op.x(place))
    if rows:
        given = op.emit(relax.op.permute_dims(given, [1, 0, 2]))
    return _widened_last(op, given, int(shape[2]))


def _widened_last(op: Op, x: relax.Expr, units: int) -> relax.Expr:
    hidden = x.ty.shape.values[2]
    if int(hidden) == units:
        return x

    def compute(given: te.Tensor) -> te.Tensor:
        zero = tirx.const(0, given.dtype)
        return te.compute(
            [*given.shape[:-1], units],
            lambda d, b, j: tirx.if_then_else(j < hidden, given(d, b, j), zero),
            name="T_filled",
        )

    return op.te(compute, x, name="filled")


def _zeros(op: Op, shape: Sequence[Extent], dtype: str) -> relax.Expr:
    return op.emit(relax.op.zeros(relax.ShapeExpr([expression(extent) for extent in shape]), dtype))


EMIT: dict[str, Emit] = dict.fromkeys(("GRU", "LSTM", "RNN"), _recurrent)
