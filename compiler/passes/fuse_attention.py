"""softmax(scale * Q K^T + mask) V = Attention(Q, K, V, mask).

The scale may stand before the product, on either side, or after it. Masks that are added become one sum; a mask that
replaces the scores (Where) becomes a condition if it replaces them with -inf, and is added if it replaces them with a
number so low that a score added to it is lost in the rounding. In a graph of 16-bit floats the Softmax may stand
between two Casts.

What differs: a row of scores that is -inf altogether gives NaN when it is spelled out, and 0 in the operator. That is
what PyTorch's own scaled_dot_product_attention gives; `Where(IsNaN(p), 0, p)` behind a Softmax says so, and goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from compiler.passes.attention_scores import ABSORBING, IDENTITY, Key, Mask, Scores, scores_of
from compiler.passes.fusion import FLOATS, Fused, Fusion, UnfitError, exact_attribute, hold, scalar, user_of
from compiler.passes.reshaping import sizes_of
from compiler.passes.rewriting import made_by, rank
from compiler.passes.sizes import Size


class FuseAttention(Fusion):
    """Anchored on the Softmax."""

    anchors: ClassVar = frozenset({"Softmax"})
    since: ClassVar = 23

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        self._sums: dict[tuple[ir.Graph, tuple[Mask, ...]], ir.Value] = {}
        return super().call(model)

    def find(self, node: ir.Node) -> Fused | None:
        softmax = _softmax(node)
        product = user_of(softmax.after, "MatMul") if softmax is not None else None
        if softmax is None or product is None or product.inputs[0] is not softmax.after:
            return None
        scores, values = scores_of(softmax.before), product.inputs[1]
        if scores is None or values is None or softmax.narrow not in (None, scores.query.dtype):
            return None
        _hold_shapes(scores, values, product.outputs[0])
        _hold_masks(scores.masks)
        attributes: dict[str, Any] = {"scale": _scale(scores)}
        if softmax.narrow is not None:
            attributes["softmax_precision"] = ir.DataType.FLOAT.value

        def inputs() -> Sequence[ir.Value | None]:
            mask = self._mask(product, scores)
            key = self._key(product, scores.key)
            return [scores.query, key, values] if mask is None else [scores.query, key, values, mask]

        return Fused(product, "Attention", inputs, (*scores.nodes, *softmax.nodes, product), attributes)

    def _key(self, place: ir.Node, key: Key) -> ir.Value:
        if key.order == IDENTITY:
            return key.value
        shape = key.value.shape
        turned = None if shape is None else ir.Shape([shape[axis] for axis in key.order])
        perm = {"perm": list(key.order)}
        return self.edit.insert(place, "Transpose", [key.value], perm, dtype=key.value.dtype, shape=turned)

    def _mask(self, place: ir.Node, scores: Scores) -> ir.Value | None:
        """One mask for all; layers that share theirs share the sum."""
        assert isinstance(place.graph, ir.Graph)
        masks = scores.masks
        if not masks:
            return None
        found = self._sums.get((place.graph, masks))
        if found is None:
            found = self._sums[place.graph, masks] = self._sum(place, masks, scores.query)
        return found

    def _sum(self, place: ir.Node, masks: Sequence[Mask], like: ir.Value) -> ir.Value:
        if len(masks) == 1 and (masks[0].fill is None or _is_minus_infinity(masks[0].fill)):
            return masks[0].value
        total: ir.Value | None = None
        for mask in reversed(masks):
            if mask.fill is not None:
                below = total if total is not None else self._zero(like)
                total = self.edit.insert(place, "Where", [mask.value, below, mask.fill], dtype=like.dtype)
            elif total is None:
                total = mask.value
            else:
                total = self.edit.insert(place, "Add", [total, mask.value], dtype=like.dtype)
        assert total is not None
        return total

    def _zero(self, like: ir.Value) -> ir.Value:
        assert like.dtype is not None
        return self.edit.constant(np.zeros((), like.dtype.numpy()), like)


@dataclass(frozen=True)
class _Softmax:
    """From what goes in, with its Casts and what guards it against NaN, to what comes out."""

    before: ir.Value
    after: ir.Value
    nodes: tuple[ir.Node, ...]
    narrow: int | None = None  # the type outside of the Casts, if there are any


def _softmax(node: ir.Node) -> _Softmax | None:
    before, after = node.inputs[0], node.outputs[0]
    if before is None or node.attributes.get_int("axis", -1) not in (-1, 3) or rank(before) not in (None, 4):
        return None
    nodes: tuple[ir.Node, ...] = (node,)
    after, guard = _unguarded(after)
    nodes += guard
    widened, narrowed = made_by(before, "Cast"), user_of(after, "Cast")
    if widened is None or narrowed is None or widened.inputs[0] is None:
        return _Softmax(before, after, nodes)
    if widened.attributes.get_int("to", 0) != ir.DataType.FLOAT:
        return None
    narrow = narrowed.attributes.get_int("to", 0)
    return _Softmax(widened.inputs[0], narrowed.outputs[0], (*nodes, widened, narrowed), narrow)


def _unguarded(value: ir.Value) -> tuple[ir.Value, tuple[ir.Node, ...]]:
    """Behind Where(IsNaN(p), 0, p)."""
    test, guard = user_of(value, "IsNaN"), user_of(value, "Where")
    if test is None or guard is None or guard.inputs[0] is not test.outputs[0] or guard.inputs[2] is not value:
        return value, ()
    return (guard.outputs[0], (test, guard)) if scalar(guard.inputs[1]) == 0 else (value, ())


def _scale(scores: Scores) -> float:
    hold(scores.query.dtype in FLOATS, f"'{scores.query.name}' is not known to be a float")
    hold(scores.scale > 0, "its scale is not positive")
    return exact_attribute(scores.scale, scores.query)


def _is_minus_infinity(fill: ir.Value) -> bool:
    return scalar(fill) == -np.inf


def _hold_masks(masks: Sequence[Mask]) -> None:
    for mask in masks:
        hold((rank(mask.value) or 5) <= 4, f"the mask '{mask.value.name}' is not known to have four axes at most")
        number = scalar(mask.fill) if mask.fill is not None else ABSORBING
        low = number is not None and number <= ABSORBING
        hold(low, f"its mask replaces scores with {number}, which is not low enough to be added")


def _hold_shapes(scores: Scores, values: ir.Value, result: ir.Value) -> None:
    """Products and sums broadcast, and the operator does not; nothing here may be stretched but heads and masks."""
    query, key, value, out = sizes_of(scores.query), scores.key.sizes, sizes_of(values), sizes_of(result)
    if query is None or key is None or value is None or len(value) != 4:
        raise UnfitError("the shapes of its queries, keys and values are not known")
    _hold_same("one batch is not known to be another's", query[0], key[0], value[0])
    _hold_same("keys and values are not known to have as many heads", key[1], value[1])
    _hold_same("keys and values are not known to be as many", key[2], value[2])
    shared = key[1] in (Size.of(1), query[1])
    hold(shared, f"{_word(query[1])} heads of queries do not share {_word(key[1])} heads of keys")
    if scores.masks:
        same = out is not None and len(out) == 4 and None not in out[:3] and out[:3] == query[:3]
        hold(same, "its mask may be larger than its scores")
        columns = {(sizes_of(mask.value) or (None,))[-1] for mask in scores.masks}
        # The operator takes a mask that is too narrow for one that ends early.
        fits = key[2] in columns and columns <= {key[2], Size.of(1)}
        hold(fits, "its mask is not known to have a column for every key")


def _hold_same(why: str, *sizes: Size | None) -> None:
    hold(sizes[0] is not None and len(set(sizes)) == 1, f"{why}: {', '.join(map(_word, dict.fromkeys(sizes)))}")


def _word(size: Size | None) -> str:
    return "unknown" if size is None else str(size)
