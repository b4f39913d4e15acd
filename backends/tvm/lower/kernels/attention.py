"""Attention without a matrix of scores: one tile of queries meets one tile of keys at a time.

For each tile of keys the running maximum m and sum l of every query are brought up to date, and what was added up so
far is scaled to the new maximum: o <- o * exp(m_old - m) + exp(s - m) V, and at the end o / l.

Queries lie along the lanes: a tile of scores is held as [keys, queries], so that maxima and sums are plain vector
operations, keys and values are read where they are, and only the queries are turned over, once. The bias, if it has a
value for each query, is turned over beforehand; layers that share a mask share that.

A query none of whose keys is allowed (all scores -inf) gives 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax, te, tirx
from tvm.script import tirx as T

from backends.tvm.lower.kernels.call import OPAQUE, DeclinedError, Lowering
from backends.tvm.lower.relax_tools import Extent, fixed, is_float32, known, same_extent, shape_of
from backends.tvm.lower.vector_math import exp, f32
from backends.tvm.target import Machine

_KEYS = 64  # in one tile of scores
_KEY_ROWS = 8  # of a tile of scores in registers


@dataclass(frozen=True)
class Blocking:
    queries: int  # of one tile, a multiple of the vector width
    query_rows: int  # of the result held in registers
    key_rows: int


def attention(at: Lowering, call: relax.Call) -> relax.Expr:
    q, k, v, *bias = call.args
    if not is_float32(q, k, v, *bias):
        raise DeclinedError("it is not float32")
    if call.attrs.window_size is not None:
        raise DeclinedError("it has a window")
    causal = call.attrs.causal_mask
    if causal not in (None, "TopLeft"):
        raise DeclinedError(f"the causal mask {causal}")
    k, v = _shared_heads(at, k), _shared_heads(at, v)
    heads, kv_heads, depth, width = shape_of(q)[2], shape_of(k)[2], shape_of(q)[3], shape_of(v)[3]
    if not all(isinstance(size, int) for size in (heads, kv_heads, depth, width)):
        raise DeclinedError("the heads or their size are not fixed")
    if width % at.machine.vector_lanes:
        return _with_wide_values(at, call, v, width)
    scale = 1 / math.sqrt(depth) if call.attrs.scale is None else float(call.attrs.scale)
    blocking = _blocking(known(shape_of(q)[1]), width, at.machine)
    given = _turned(at, bias[0], blocking.queries) if bias else at.constant(np.zeros((1, 1, 1, 1), "float32"))
    out_shape = [*shape_of(q)[:3], width]
    shapes = _named([shape_of(x) for x in (q, k, v, given)])
    per_query = bool(bias) and known(shapes[3][3]) != 1
    choice = (blocking, scale, bool(bias), per_query, causal is not None)
    function = at.once(("attention", str(shapes), *choice), lambda: _kernel(shapes, *choice))
    place = at.emitter.add_func(function, "attention")
    return relax.call_tir(place, [q, k, v, given], relax.TensorType(out_shape, "float32"))


def _with_wide_values(at: Lowering, call: relax.Call, v: relax.Expr, width: int) -> relax.Expr:
    """The same with as many zeros behind the values of each head as a vector wants."""
    lanes = at.machine.vector_lanes
    wide = -(-width // lanes) * lanes

    def widened(given: te.Tensor) -> te.Tensor:
        def element(b: Any, j: Any, h: Any, d: Any) -> Any:
            return tirx.if_then_else(d < width, given(b, j, h, d), f32(0.0))

        return te.compute((*given.shape[:-1], wide), element, name="widened")

    def narrowed(given: te.Tensor) -> te.Tensor:
        return te.compute((*given.shape[:-1], width), lambda *i: given(*i), name="narrowed")

    q, k, _, *bias = call.args
    values = at.emitter.emit(at.call(widened, v, name="wide_values", pattern=OPAQUE))
    depth = shape_of(q)[3]
    scale = 1 / math.sqrt(depth) if call.attrs.scale is None else float(call.attrs.scale)
    k = _shared_heads(at, k)
    attended = relax.op.nn.attention(q, k, values, bias[0] if bias else None, scale, call.attrs.causal_mask)
    made = at.emitter.emit(attention(at, at.emitter.normalize(attended)))
    return at.call(narrowed, made, name="narrow_values", pattern=None)


def _named(shapes: list[list[Extent]]) -> list[list[Extent]]:
    """Every extent that is not fixed as one variable, the same one for equal extents.

    The function learns its value from the tensors it is called with; an expression it could not solve.
    """
    names: list[tuple[Extent, tirx.Var]] = []

    def name(extent: Extent) -> Extent:
        if isinstance(extent, int):
            return extent
        for known_extent, var in names:
            if same_extent(known_extent, extent):
                return var
        names.append((extent, tirx.Var(f"n{len(names)}", "int64")))
        return names[-1][1]

    return [[name(extent) for extent in shape] for shape in shapes]


def _blocking(queries: int | None, width: int, machine: Machine) -> Blocking:
    """Half of the registers hold sums: of the scores, and later of the result."""
    lanes, sums = machine.vector_lanes, machine.registers // 2
    vectors = 1 if queries is not None and queries <= lanes else 2
    rows = next(count for count in (8, 4, 2, 1) if count == 1 or count * (width // lanes) <= sums)
    return Blocking(vectors * lanes, rows, min(_KEY_ROWS, sums // vectors))


def _shared_heads(at: Lowering, x: relax.Expr) -> relax.Expr:
    """The fewer heads of grouped attention, before they were repeated."""
    bound = at.emitter.lookup_binding(x) if isinstance(x, relax.Var) else None
    if isinstance(bound, relax.Call) and getattr(bound.op, "name", "") == "relax.repeat" and bound.attrs.axis == 2:
        return bound.args[0]
    return x


def _turned(at: Lowering, bias: relax.Expr, queries: int) -> relax.Expr:
    """[batch, heads, queries, keys] as [batch, heads, keys, queries], filled up to whole tiles of queries."""

    def compute(given: te.Tensor) -> te.Tensor:
        batch, heads, rows, keys = given.shape
        if fixed(rows) == 1:
            return te.compute((batch, heads, keys, rows), lambda b, h, j, i: given(b, h, i, j), name="turned")
        whole = fixed(tirx.floordiv(rows + queries - 1, queries) * queries)
        return te.compute(
            (batch, heads, keys, whole), lambda b, h, j, i: given(b, h, tirx.min(i, rows - 1), j), name="turned"
        )

    return at.emitter.emit(at.call(compute, bias, name="turned_bias", pattern=OPAQUE))


def _kernel(
    shapes: list[list[Any]], blocking: Blocking, scale: float, biased: bool, per_query: bool, causal: bool
) -> tirx.PrimFunc:
    q_shape, k_shape, v_shape, bias_shape = shapes
    batch, rows, heads, depth = q_shape
    keys, kv_heads, width = k_shape[1], fixed(k_shape[2]), fixed(v_shape[3])
    heads, depth = fixed(heads), fixed(depth)
    group = heads // kv_heads
    out_shape = [batch, rows, heads, width]
    span, held, strip, keys_in_tile = blocking.queries, blocking.query_rows, blocking.key_rows, _KEYS
    blocks = tirx.floordiv(rows + (span - 1), span)
    tasks = batch * heads * blocks
    hidden = f32(-math.inf)

    def bias_at(bias: Any, b: Any, h: Any, j: Any, i: Any) -> Any:
        sizes = [fixed(size) for size in bias_shape]
        place = [0 if size == 1 else index for size, index in zip(sizes, (b, h, j, i if per_query else 0), strict=True)]
        return bias[tuple(place)]

    def score(total: Any, bias: Any, b: Any, h: Any, j: Any, i: Any) -> Any:
        value = total + bias_at(bias, b, h, tirx.min(j, keys - 1), i) if biased else total
        allowed = tirx.all(j < keys, j <= i) if causal else j < keys
        return tirx.Select(allowed, value, hidden)

    def last_key(first_query: Any) -> Any:
        """Behind the last key that a tile of queries may see."""
        return tirx.min(keys, first_query + span) if causal else keys

    def grounded(peak: Any) -> Any:
        return tirx.Select(tirx.EQ(peak, hidden), f32(0.0), peak)

    def divided(value: Any, total: Any) -> Any:
        return tirx.Select(tirx.EQ(total, f32(0.0)), f32(0.0), value / total)

    def count(kb: Any, limit: Any) -> Any:
        return tirx.min(limit - kb * keys_in_tile, keys_in_tile)

    @T.prim_func(private=True, s_tir=True)  # type: ignore[untyped-decorator]
    def attention(  # type: ignore[no-untyped-def]
        q: T.Buffer(q_shape, "float32"),  # type: ignore[valid-type]
        k: T.Buffer(k_shape, "float32"),  # type: ignore[valid-type]
        v: T.Buffer(v_shape, "float32"),  # type: ignore[valid-type]
        bias: T.Buffer(bias_shape, "float32"),  # type: ignore[valid-type]
        out: T.Buffer(out_shape, "float32"),  # type: ignore[valid-type]
    ):
        T.func_attr({"tirx.noalias": True, "op_pattern": 8, "tirx.is_scheduled": True})
        for task in T.parallel(tasks):
            with T.sblock("attention"):
                t = T.axis.spatial(tasks, task)
                T.reads()
                T.writes()
                turned = T.sblock_alloc_buffer((depth, span), "float32", scope="local")
                scores = T.sblock_alloc_buffer((keys_in_tile, span), "float32", scope="local")
                sums = T.sblock_alloc_buffer((span, width), "float32", scope="local")
                tile = T.sblock_alloc_buffer((strip, span), "float32", scope="local")
                part = T.sblock_alloc_buffer((held, width), "float32", scope="local")
                peak = T.sblock_alloc_buffer((span,), "float32", scope="local")
                base = T.sblock_alloc_buffer((span,), "float32", scope="local")
                factor = T.sblock_alloc_buffer((span,), "float32", scope="local")
                total = T.sblock_alloc_buffer((span,), "float32", scope="local")
                b = T.meta_var(t // (heads * blocks))
                h = T.meta_var(t // blocks % heads)
                first = T.meta_var(t % blocks * span)
                limit = T.meta_var(last_key(first))
                for i in range(span):
                    for d in range(depth):
                        turned[d, i] = q[b, T.min(first + i, rows - 1), h, d] * f32(scale)
                for lane in T.vectorized(span):
                    peak[lane] = hidden
                for lane in T.vectorized(span):
                    total[lane] = T.float32(0)
                for i in range(span):
                    for lane in T.vectorized(width):
                        sums[i, lane] = T.float32(0)
                for kb in range((limit + (keys_in_tile - 1)) // keys_in_tile):
                    for kr in range((count(kb, limit) + (strip - 1)) // strip):
                        for r in T.unroll(strip):
                            for lane in T.vectorized(span):
                                tile[r, lane] = T.float32(0)
                        for d in range(depth):
                            for r in T.unroll(strip):
                                for lane in T.vectorized(span):
                                    tile[r, lane] = (
                                        tile[r, lane]
                                        + k[b, T.min(kb * keys_in_tile + kr * strip + r, keys - 1), h // group, d]
                                        * turned[d, lane]
                                    )
                        for r in T.unroll(strip):
                            for lane in T.vectorized(span):
                                scores[kr * strip + r, lane] = score(
                                    tile[r, lane], bias, b, h, kb * keys_in_tile + kr * strip + r, first + lane
                                )
                    for lane in T.vectorized(span):
                        base[lane] = peak[lane]
                    for j in range(count(kb, limit)):
                        for lane in T.vectorized(span):
                            base[lane] = T.max(base[lane], scores[j, lane])
                    for lane in T.vectorized(span):
                        factor[lane] = exp(peak[lane] - grounded(base[lane]))
                    for lane in T.vectorized(span):
                        peak[lane] = base[lane]
                    for lane in T.vectorized(span):
                        base[lane] = grounded(peak[lane])
                    for lane in T.vectorized(span):
                        total[lane] = total[lane] * factor[lane]
                    for j in range(count(kb, limit)):
                        for lane in T.vectorized(span):
                            scores[j, lane] = exp(scores[j, lane] - base[lane])
                        for lane in T.vectorized(span):
                            total[lane] = total[lane] + scores[j, lane]
                    for qr in range(span // held):
                        for r in T.unroll(held):
                            for lane in T.vectorized(width):
                                part[r, lane] = sums[qr * held + r, lane] * factor[qr * held + r]
                        for j in range(count(kb, limit)):
                            for r in T.unroll(held):
                                for lane in T.vectorized(width):
                                    part[r, lane] = (
                                        part[r, lane]
                                        + scores[j, qr * held + r] * v[b, kb * keys_in_tile + j, h // group, lane]
                                    )
                        for r in T.unroll(held):
                            for lane in T.vectorized(width):
                                sums[qr * held + r, lane] = part[r, lane]
                for i in range(span):
                    if first + i < rows:
                        for lane in T.vectorized(width):
                            out[b, first + i, h, lane] = divided(sums[i, lane], total[i])

    return attention
