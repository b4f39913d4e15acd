"""The kernel of LSTM, GRU and RNN: one step after another, for each sequence of each direction on its own.

What the inputs add to the gates is computed for all steps at once before this, as one matrix product. What is left for
a step is the state times the recurrent weights, held in registers for a block of gates at a time, and the cell itself.

Every gate is `units` wide, the hidden size filled up to whole vectors. What is filled in stays zero: its weights are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script import tirx as T

LANES = 16  # narrower vectors take it in two or four
_BLOCKS = (128, 112, 96, 80, 64, 48, 32, 16)  # sums held in registers

Activation = Callable[[Any], Any]


@dataclass(frozen=True)
class Cell:
    """`activations` are those of each direction. Of a GRU, `linear_first` says that the reset gate comes after the
    product; of an LSTM, `coupled` that it forgets what it does not take up."""

    kind: str
    activations: tuple[tuple[Activation, ...], ...]
    reversed: tuple[bool, ...]  # for each direction
    linear_first: bool = False
    coupled: bool = False
    peepholes: bool = False

    @property
    def gates(self) -> int:
        return {"LSTM": 4, "GRU": 3, "RNN": 1}[self.kind]


def scan(cell: Cell, steps: Any, batch: Any, hidden: int, units: int, dtype: str) -> tirx.PrimFunc:
    """What it takes and gives:

    inputs   [steps, batch, directions * gates * units]   what the inputs add to the gates
    weights  [directions, hidden, gates * units]
    extra    [directions, 3 * units] of an LSTM, its peepholes; [directions, units] of a GRU, the product's own bias
    lengths  [batch]
    first    [directions, batch, units]                   the state, and in a second one the cell of an LSTM
    outputs  [steps, directions, batch, units], the last state, the last cell (others scribble there), and the gates,
             which nobody wants
    """
    directions, width = len(cell.reversed), cell.gates * units
    state_shape = [directions, batch, units]
    extra_shape = [directions, 3 * units if cell.kind == "LSTM" else units]
    whole = cell.kind != "GRU"
    first_part = width if whole else 2 * units
    block = next(size for size in _BLOCKS if (width if whole else units) % size == 0)
    groups, later = block // LANES, units // block

    def chosen(values: list[Any], d: Any) -> Any:
        """The value for a direction, of which there are at most two."""
        return values[0] if len(values) == 1 else tirx.Select(d == 0, values[0], values[1])

    def act(place: int, d: Any, x: Any) -> Any:
        named = [functions[place] for functions in cell.activations]
        return named[0](x) if len(set(named)) == 1 else chosen([function(x) for function in named], d)

    def moment(t: Any, length: Any, d: Any) -> Any:
        return chosen([length - 1 - t if backward else t for backward in cell.reversed], d)

    def seen(extra: Any, d: Any, place: int, j: Any, value: Any) -> Any:
        """What a gate of an LSTM sees of the cell."""
        return extra[d, place * units + j] * value if cell.peepholes else tirx.const(0, dtype)

    one = tirx.const(1, dtype)

    @T.macro
    def product(sums, gates, source, inputs, weights, extra, at, d, b, first, blocks, own):  # type: ignore[no-untyped-def]
        """gates[first:...] = what the inputs add + source @ weights; `own` starts from a bias instead."""
        for n in range(blocks):
            for u in T.unroll(groups):
                for v in T.vectorized(LANES):
                    sums[u * LANES + v] = (
                        extra[d, n * block + u * LANES + v]
                        if own
                        else inputs[at, b, d * width + first + n * block + u * LANES + v]
                    )
            for k in range(hidden):
                for u in T.unroll(groups):
                    for v in T.vectorized(LANES):
                        sums[u * LANES + v] = (
                            sums[u * LANES + v] + source[d, b, k] * weights[d, k, first + n * block + u * LANES + v]
                        )
            for u in T.unroll(groups):
                for v in T.vectorized(LANES):
                    gates[d, b, first + n * block + u * LANES + v] = sums[u * LANES + v]

    @T.prim_func(private=True, s_tir=True)  # type: ignore[untyped-decorator]
    def recurrent(  # type: ignore[no-untyped-def]
        inputs: T.Buffer([steps, batch, directions * width], dtype),  # type: ignore[valid-type]
        weights: T.Buffer([directions, hidden, width], dtype),  # type: ignore[valid-type]
        extra: T.Buffer(extra_shape, dtype),  # type: ignore[valid-type]
        lengths: T.Buffer([batch], "int32"),  # type: ignore[valid-type]
        first_state: T.Buffer(state_shape, dtype),  # type: ignore[valid-type]
        first_cell: T.Buffer(state_shape, dtype),  # type: ignore[valid-type]
        outputs: T.Buffer([steps, directions, batch, units], dtype),  # type: ignore[valid-type]
        state: T.Buffer(state_shape, dtype),  # type: ignore[valid-type]
        inner: T.Buffer(state_shape, dtype),  # type: ignore[valid-type]
        gates: T.Buffer([directions, batch, width], dtype),  # type: ignore[valid-type]
    ):
        T.func_attr({"tirx.noalias": True, "op_pattern": 8, "tirx.is_scheduled": True})
        for task in T.parallel(directions * batch):
            with T.sblock("recurrent"):
                place = T.axis.spatial(directions * batch, task)
                T.reads()
                T.writes()
                sums = T.sblock_alloc_buffer((block,), dtype, scope="local")
                d = T.meta_var(place // batch)
                b = T.meta_var(place % batch)
                length = T.meta_var(T.cast(lengths[b], "int64"))
                for o in range(units // LANES):
                    for v in T.vectorized(LANES):
                        state[d, b, o * LANES + v] = first_state[d, b, o * LANES + v]
                    for v in T.vectorized(LANES):
                        inner[d, b, o * LANES + v] = first_cell[d, b, o * LANES + v]
                for t in range(steps):
                    if t < length:
                        at = T.meta_var(moment(t, length, d))
                        product(sums, gates, state, inputs, weights, extra, at, d, b, 0, first_part // block, False)
                        if cell.kind == "LSTM":
                            for o in range(units // LANES):
                                for v in T.vectorized(LANES):
                                    # The input gate, in its own place: what is forgotten needs it, too.
                                    gates[d, b, o * LANES + v] = act(
                                        0,
                                        d,
                                        gates[d, b, o * LANES + v]
                                        + seen(extra, d, 0, o * LANES + v, inner[d, b, o * LANES + v]),
                                    )
                                for v in T.vectorized(LANES):
                                    inner[d, b, o * LANES + v] = gates[d, b, o * LANES + v] * act(
                                        1, d, gates[d, b, 3 * units + o * LANES + v]
                                    ) + inner[d, b, o * LANES + v] * (
                                        one - gates[d, b, o * LANES + v]
                                        if cell.coupled
                                        else act(
                                            0,
                                            d,
                                            gates[d, b, 2 * units + o * LANES + v]
                                            + seen(extra, d, 2, o * LANES + v, inner[d, b, o * LANES + v]),
                                        )
                                    )
                                for v in T.vectorized(LANES):
                                    state[d, b, o * LANES + v] = act(
                                        0,
                                        d,
                                        gates[d, b, units + o * LANES + v]
                                        + seen(extra, d, 1, o * LANES + v, inner[d, b, o * LANES + v]),
                                    ) * act(2, d, inner[d, b, o * LANES + v])
                        if cell.kind == "GRU":
                            for o in range(2 * units // LANES):
                                for v in T.vectorized(LANES):
                                    gates[d, b, o * LANES + v] = act(0, d, gates[d, b, o * LANES + v])
                            if cell.linear_first:
                                product(
                                    sums,
                                    gates,
                                    state,
                                    inputs,
                                    weights,
                                    extra,
                                    at,
                                    d,
                                    b,
                                    2 * units,
                                    later,
                                    True,
                                )
                                for o in range(units // LANES):
                                    for v in T.vectorized(LANES):
                                        gates[d, b, 2 * units + o * LANES + v] = (
                                            inputs[at, b, d * width + 2 * units + o * LANES + v]
                                            + gates[d, b, units + o * LANES + v]
                                            * gates[d, b, 2 * units + o * LANES + v]
                                        )
                            else:
                                for o in range(units // LANES):
                                    for v in T.vectorized(LANES):
                                        inner[d, b, o * LANES + v] = (
                                            gates[d, b, units + o * LANES + v] * state[d, b, o * LANES + v]
                                        )
                                product(
                                    sums,
                                    gates,
                                    inner,
                                    inputs,
                                    weights,
                                    extra,
                                    at,
                                    d,
                                    b,
                                    2 * units,
                                    later,
                                    False,
                                )
                            for o in range(units // LANES):
                                for v in T.vectorized(LANES):
                                    state[d, b, o * LANES + v] = (one - gates[d, b, o * LANES + v]) * act(
                                        1, d, gates[d, b, 2 * units + o * LANES + v]
                                    ) + gates[d, b, o * LANES + v] * state[d, b, o * LANES + v]
                        if cell.kind == "RNN":
                            for o in range(units // LANES):
                                for v in T.vectorized(LANES):
                                    state[d, b, o * LANES + v] = act(0, d, gates[d, b, o * LANES + v])
                        for o in range(units // LANES):
                            for v in T.vectorized(LANES):
                                outputs[at, d, b, o * LANES + v] = state[d, b, o * LANES + v]
                    else:
                        for o in range(units // LANES):
                            for v in T.vectorized(LANES):
                                outputs[t, d, b, o * LANES + v] = tirx.const(0, dtype)

    return recurrent
