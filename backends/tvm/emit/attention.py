"""Attention and rotary embedding.

The ordinary forms become Relax's own attention, in [batch, sequence, heads, size]: what exporters write around it,
a transpose to [batch, heads, ...], then cancels out. Forms that want more (softcap, scores as an output, lengths of the
valid keys) are written as matrix products and a softmax.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from tvm import relax, te, tirx

from backends.tvm.emit.elementwise import number
from backends.tvm.emit.extents import Extent, equal, expression
from backends.tvm.emit.op import Emit, Op, Result
from backends.tvm.emit.reductions import extreme, narrowed, widened
from backends.tvm.emit.shaping import concatenated
from backends.tvm.emit.slicing import slice_axis

_TO_BSNH = [0, 2, 1, 3]  # and back


@dataclass
class _Heads:
    """Query, key and value in [batch, sequence, heads, size]; the outputs for the cache in ONNX's own layout."""

    q: relax.Expr
    k: relax.Expr
    v: relax.Expr
    present: list[relax.Expr | None]
    past: Extent


def _attention(op: Op) -> Result:
    heads = _scaled(op, _heads(op))
    plain = not op.attr("softcap", 0.0) and not op.wants(3) and not op.has(6)
    make = _fused if plain else _in_steps
    y, scores = make(op, heads)
    y = narrowed(op, y)
    if op.rank(0) == 3:
        batch, sequence, count, size = _extents(op, y)
        y = op.reshape(y, [batch, sequence, op.settled(count * size)])
    else:
        y = op.emit(relax.op.permute_dims(y, _TO_BSNH))
    return [y, *heads.present, scores]


def _extents(op: Op, x: relax.Expr) -> list[Extent]:
    return [op.settled(extent) for extent in map(_plain, x.ty.shape.values)]


def _plain(extent: Any) -> Extent:
    return int(extent) if isinstance(extent, tirx.IntImm) else extent


def _heads(op: Op) -> _Heads:
    q, k, v = (
        _split_heads(op, place, name) for place, name in enumerate(("q_num_heads", "kv_num_heads", "kv_num_heads"))
    )
    present: list[relax.Expr | None] = [None, None]
    past: Extent = 0
    if op.has(4):
        past = op.shape(4)[2]
        k, v = (
            concatenated(op, [op.emit(relax.op.permute_dims(op.x(place), _TO_BSNH)), new], 1)
            for place, new in ((4, k), (5, v))
        )
    for place, tensor in enumerate((k, v)):
        if op.wants(place + 1):
            present[place] = op.emit(relax.op.permute_dims(tensor, _TO_BSNH))
    return _Heads(widened(op, q), widened(op, k), widened(op, v), present, past)


def _split_heads(op: Op, place: int, name: str) -> relax.Expr:
    if op.rank(place) == 4:
        return op.emit(relax.op.permute_dims(op.x(place), _TO_BSNH))
    batch, sequence, hidden = op.shape(place)
    count = int(op.attr(name))
    return op.reshape(op.x(place), [batch, sequence, count, op.settled(tirx.floordiv(expression(hidden), count))])


def _scale(op: Op, heads: _Heads) -> float:
    size = _extents(op, heads.q)[3]
    return float(op.attr("scale", None) or (1 / math.sqrt(size) if isinstance(size, int) else 1))


def _scaled(op: Op, heads: _Heads) -> _Heads:
    """With the query divided by the root of a size that only the input tells; the scores take a number."""
    if op.attr("scale", None) or isinstance(_extents(op, heads.q)[3], int):
        return heads

    def divide(q: te.Tensor) -> te.Tensor:
        root = tirx.sqrt(q.shape[3].astype(q.dtype))
        return te.compute(q.shape, lambda *index: q(*index) / root, name="T_divide")

    return replace(heads, q=op.te(divide, heads.q, name="attention_scaled"))


def _fused(op: Op, heads: _Heads) -> tuple[relax.Expr, relax.Expr | None]:
    k, v = (_repeated(op, heads, tensor) for tensor in (heads.k, heads.v))
    causal = bool(op.attr("is_causal", 0))
    in_mask = causal and not (isinstance(heads.past, int) and heads.past == 0)
    bias = _bias(op, heads, causal=in_mask) if op.has(3) or in_mask else None
    mask = "TopLeft" if causal and not in_mask else None
    return op.emit(relax.op.nn.attention(heads.q, k, v, bias, _scale(op, heads), mask)), None


def _repeated(op: Op, heads: _Heads, tensor: relax.Expr) -> relax.Expr:
    """Several heads of the query share one of the key and value."""
    times = _extents(op, heads.q)[2] // _extents(op, tensor)[2]
    return tensor if times == 1 else op.emit(relax.op.repeat(tensor, times, 2))


def _bias(op: Op, heads: _Heads, *, causal: bool) -> relax.Expr:
    """What is added to the scores, -∞ where nothing may be seen; four axes, of which the first two may be 1."""
    queries, keys = _extents(op, heads.q)[1], _extents(op, heads.k)[1]
    mask = op.x(3) if op.has(3) else None
    rows = expression(queries)
    columns = expression(keys)
    dtype = str(heads.q.ty.dtype)
    hidden = tirx.const(-math.inf, dtype)
    past = heads.past
    narrower = mask is not None and not op.same(op.shape(3)[-1], keys)

    def compute(height: Any, width: Any, offset: Any, *given: te.Tensor) -> te.Tensor:
        own = given[0] if given else None
        lead = [tirx.IntImm("int64", 1)] * 2
        if own is not None:
            outer = list(own.shape[:-2])
            lead = [*lead[len(outer) :], *outer]

        def element(*index: Any) -> Any:
            i, j = index[2], index[3]
            value: Any = tirx.const(0, dtype)
            if own is not None:
                value = _masked(own, index, hidden, dtype)
                if narrower:
                    value = tirx.if_then_else(j < own.shape[-1], value, hidden)
            return tirx.Select(j <= i + offset, value, hidden) if causal else value

        return te.compute((*lead, height, width), element, name="T_mask")

    given = [mask] if mask is not None else []
    return op.te(compute, rows, columns, expression(past), *given, name="attention_mask")


def _masked(mask: te.Tensor, index: Any, hidden: Any, dtype: str) -> Any:
    own = [
        0 if isinstance(extent, tirx.IntImm) and int(extent) == 1 else i
        for i, extent in zip(index[4 - len(mask.shape) :], mask.shape, strict=True)
    ]
    value = mask(*own)
    if str(mask.dtype) == "bool":
        return tirx.Select(value, tirx.const(0, dtype), hidden)
    return value.astype(dtype)


def _in_steps(op: Op, heads: _Heads) -> tuple[relax.Expr, relax.Expr | None]:
    dtype = str(heads.q.ty.dtype)
    q = op.emit(relax.op.permute_dims(heads.q, [0, 2, 1, 3]))
    k = op.emit(relax.op.permute_dims(_repeated(op, heads, heads.k), [0, 2, 3, 1]))
    v = op.emit(relax.op.permute_dims(_repeated(op, heads, heads.v), [0, 2, 1, 3]))
    scores = op.emit(relax.op.multiply(op.emit(relax.op.matmul(q, k)), op.const(_scale(op, heads), dtype)))
    stages = [scores]
    if cap := op.attr("softcap", 0.0):
        squashed = op.emit(relax.op.tanh(op.emit(relax.op.divide(scores, op.const(cap, dtype)))))
        scores = op.emit(relax.op.multiply(squashed, op.const(cap, dtype)))
    stages.append(scores)
    causal = bool(op.attr("is_causal", 0))
    if op.has(3) or (causal and not op.has(6)):
        scores = op.emit(relax.op.add(scores, _bias(op, heads, causal=causal and not op.has(6))))
    if op.has(6):
        scores = _within_lengths(op, scores, causal)
    stages.append(scores)
    weights = _shares(op, scores)
    stages.append(weights)
    y = op.emit(relax.op.permute_dims(op.emit(relax.op.matmul(weights, v)), _TO_BSNH))
    if not op.wants(3):
        return y, None
    mode = op.attr("qk_matmul_output_mode", 0)
    return y, narrowed(op, stages[mode])


def _shares(op: Op, scores: relax.Expr) -> relax.Expr:
    """A softmax, but a query that may see nothing at all takes nothing: 0, where softmax alone gives NaN."""
    dtype = str(scores.ty.dtype)
    weights = op.emit(relax.op.nn.softmax(scores, -1))
    most = extreme(op, scores, [3], True)
    blind = op.emit(relax.op.equal(most, op.const(-math.inf, dtype)))
    return op.emit(relax.op.where(blind, op.const(0, dtype), weights))


def _within_lengths(op: Op, scores: relax.Expr, causal: bool) -> relax.Expr:
    """Keys beyond each sample's own length are not seen."""

    def compute(data: te.Tensor, lengths: te.Tensor) -> te.Tensor:
        def element(*index: Any) -> Any:
            length = lengths(index[0]).astype("int64")
            seen = index[3] < length
            if causal:
                seen = tirx.all(seen, index[3] <= index[2] + length - data.shape[2])
            return tirx.Select(seen, data(*index), number(-math.inf, data(*index)))

        return te.compute(data.shape, element, name="T_lengths")

    return op.te(compute, scores, op.x(6), name="attention_lengths")


def _rotary(op: Op) -> Result:
    """Pairs (a, b) of each head turn by an angle: (a cos - b sin, b cos + a sin)."""
    four = op.rank() == 4
    if four:
        x = op.emit(relax.op.permute_dims(op.x(), _TO_BSNH))
    else:
        batch, sequence, hidden = op.shape()
        count = int(op.attr("num_heads"))
        x = op.reshape(op.x(), [batch, sequence, count, op.settled(tirx.floordiv(expression(hidden), count))])
    size = _extents(op, x)[3]
    turned = int(op.attr("rotary_embedding_dim", 0)) or size
    cos, sin = (_by_position(op, place) for place in (1, 2))
    interleaved = bool(op.attr("interleaved", 0))
    result = _turned(op, x, cos, sin, turned, interleaved)
    if turned != size:
        rest = slice_axis(op, x, 3, turned, size - turned)
        result = op.emit(relax.op.concat([result, rest], 3))
    if four:
        return relax.op.permute_dims(result, _TO_BSNH)
    return op.reshape(result, op.shape())


def _by_position(op: Op, place: int) -> relax.Expr:
    """[batch, sequence, half]: as it stands, or looked up by position."""
    if not op.has(3):
        return op.x(place)
    from backends.tvm.emit.indexing import safe_index

    def compute(cache: te.Tensor, positions: te.Tensor) -> te.Tensor:
        return te.compute(
            (*positions.shape, cache.shape[1]),
            lambda b, s, k: cache(safe_index(positions(b, s), cache.shape[0]), k),
            name="T_positions",
        )

    return op.te(compute, op.x(place), op.x(3), name="rotary_positions")


def _turned(op: Op, x: relax.Expr, cos: relax.Expr, sin: relax.Expr, turned: int, interleaved: bool) -> relax.Expr:
    half = turned // 2

    def compute(data: te.Tensor, cosine: te.Tensor, sine: te.Tensor) -> te.Tensor:
        def element(b: Any, s: Any, h: Any, d: Any) -> Any:
            pair = tirx.floordiv(d, 2) if interleaved else tirx.floormod(d, half)
            first = equal(tirx.floormod(d, 2), 0) if interleaved else d < half
            low, high = (2 * pair, 2 * pair + 1) if interleaved else (pair, pair + half)
            a, other = data(b, s, h, low), data(b, s, h, high)
            c, sn = cosine(b, s, pair), sine(b, s, pair)
            return tirx.Select(first, a * c - other * sn, other * c + a * sn)

        return te.compute((*data.shape[:3], tirx.IntImm("int64", turned)), element, name="T_rotary")

    return op.te(compute, x, cos, sin, name="rotary")


EMIT: dict[str, Emit] = {"Attention": _attention, "RotaryEmbedding": _rotary}
