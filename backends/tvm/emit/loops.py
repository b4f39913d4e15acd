"""Loops that end when the data says so.

TVM's virtual machine has functions and branches, but no loops, and a function that calls itself would take as much
stack as there are steps. So there is a function for one step, one that calls it twice, one that calls that one twice,
and so on; each asks between its two calls whether the loop goes on. 40 of them are more steps than anybody waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import onnx_ir as ir
from tvm import relax, tirx

from backends.tvm.emit.extents import expression
from backends.tvm.emit.op import Op, Result
from backends.tvm.emit.shaping import concatenated

_DOUBLINGS = 40
_EMBEDDED = 4096  # bytes of a constant that the function of a step has for itself; larger ones are handed to it


@dataclass(frozen=True)
class _State:
    """What goes from step to step, in the order in which every function takes and gives it; `handed` it only takes."""

    going: Any
    step: Any
    carried: list[Any]
    collected: list[Any]
    handed: list[Any]

    def given(self) -> list[Any]:
        return [self.going, self.step, *self.carried, *self.collected]

    def all(self) -> list[Any]:
        return [*self.given(), *self.handed]

    def with_values(self, values: Sequence[Any]) -> _State:
        carried = 2 + len(self.carried)
        given = carried + len(self.collected)
        handed = list(values[given:]) or self.handed
        return _State(values[0], values[1], list(values[2:carried]), list(values[carried:given]), handed)


def by_doubling(op: Op) -> Result:
    body = op.node.attributes["body"].as_graph()
    initial = [op.x(place) for place in range(2, len(op.node.inputs))]
    limit = op.reshape(op.x(0), []) if op.has(0) else None
    outer = _outer_values(body)
    apart = [value for value in outer if _is_handed(op, value)]
    handed = [*([limit] if limit is not None else []), *map(op.emitter.tensor, apart)]
    known = [op.emitter.known(value) for value in outer if value not in apart]
    sizes = _sizes(
        op, [*initial, *handed], [each for elements in known if elements is not None for each in elements.flat]
    )
    if sizes:
        handed.append(relax.ShapeExpr(sizes))

    step, elements = _step(op, body, initial, apart, handed)
    grown = [relax.TensorType([0, *element.shape.values], element.dtype) for element in elements]
    state = _State(
        _and(op, op.reshape(op.x(1), []) if op.has(1) else None, _below(op, relax.const(0, "int64"), limit)),
        relax.const(0, "int64"),
        initial,
        [op.emit(relax.op.zeros(made.shape, made.dtype)) for made in grown],
        handed,
    )
    once = _function(op, "once", state, lambda inside: _once(op, inside, step, limit is not None, elements))
    for _ in range(_DOUBLINGS):
        once = _function(op, "twice", state, partial(_twice, op, once))
    last = _called(op, once, state)
    return [*last.carried, *last.collected]


def _step(
    op: Op, body: ir.Graph, initial: list[Any], outer: list[ir.Value], handed: list[Any]
) -> tuple[Any, list[Any]]:
    """The function of the body: from the number of the step, what is carried and what is handed, to its outputs. And
    the types of what is collected."""
    emitter, elements = op.emitter, []
    params = [relax.Var("step", relax.TensorType([], "int64")), *_params([*initial, *handed])]
    tensors = params[1 + len(initial) + (1 if op.has(0) else 0) :]
    with (
        emitter.apart(dict(zip(outer, tensors, strict=False))),
        op.bb.function("step", params, pure=False, private=True),
    ):
        made = emitter.inline_entries(body, [params[0], True, *params[1 : 1 + len(initial)]])
        results = [emitter.tensor_of(entry) for entry in made]
        results[0] = op.reshape(results[0], [])
        kept = [_kept(op, after, before.ty) for before, after in zip(initial, results[1:], strict=False)]
        # What is collected is often what is carried, too.
        known = dict(zip(results[1:], kept, strict=False))
        results[1:] = [*kept, *(known.get(value, value) for value in results[1 + len(kept) :])]
        for element in results[1 + len(initial) :]:
            if element.ty.shape is None or not _named(element.ty.shape.values) <= _sizes_of(handed):
                op.refuse("it is not of known length, and the size of what it collects depends on data")
            elements.append(element.ty)
        place = op.bb.emit_func_output(relax.Tuple(results))
    return _renewed(op, place), elements


def _once(op: Op, state: _State, step: Any, limited: bool, elements: list[Any]) -> Any:
    """One step, if the loop goes on."""

    def then() -> Any:
        call = op.emit(relax.Call(step, [state.step, *state.carried, *state.handed]))
        types = [relax.TensorType([], "bool"), *(value.ty for value in state.carried), *elements]
        going, *values = _parts(op, call, types)
        following = op.emit(relax.op.add(state.step, relax.const(1, "int64")))
        carried, found = values[: len(state.carried)], values[len(state.carried) :]
        collected = [
            op.emit(concatenated(op, [before, op.emit(relax.op.expand_dims(element, 0))], 0))
            for before, element in zip(state.collected, found, strict=True)
        ]
        within = _below(op, following, state.handed[0] if limited else None)
        return relax.Tuple([_and(op, going, within), following, *carried, *collected])

    return relax.If(state.going, _block(op, then), _block(op, lambda: relax.Tuple(state.given())))


def _twice(op: Op, half: Any, state: _State) -> Any:
    middle = _called(op, half, state)
    call = relax.Call(half, middle.all())
    return relax.If(middle.going, _block(op, lambda: call), _block(op, lambda: relax.Tuple(middle.given())))


def _called(op: Op, function: Any, state: _State) -> _State:
    """The state after a call; how much was collected has a new name."""
    types = [relax.TensorType([], "bool"), relax.TensorType([], "int64"), *(value.ty for value in state.carried)]
    types += [_any_length(value.ty) for value in state.collected]
    return state.with_values(_parts(op, op.emit(relax.Call(function, state.all())), types))


def _parts(op: Op, results: Any, types: list[Any]) -> list[Any]:
    parts = [op.emit(relax.TupleGetItem(results, place)) for place in range(len(types))]
    return [op.bb.match_cast(part, wanted) for part, wanted in zip(parts, types, strict=True)]


def _function(op: Op, name: str, like: _State, make: Callable[[_State], Any]) -> Any:
    params = _params([*like.given(), *like.handed], any_length=range(2 + len(like.carried), len(like.given())))
    with op.bb.function(name, params, pure=False, private=True):
        place = op.bb.emit_func_output(op.emit(make(like.with_values(params))))
    return _renewed(op, place)


def _params(values: Sequence[Any], any_length: Sequence[int] = ()) -> list[Any]:
    types = [_any_length(value.ty) if place in any_length else value.ty for place, value in enumerate(values)]
    return [relax.Var(f"a{place}", relax.ShapeType(v.values) if isinstance(v, relax.ShapeExpr) else kind)
            for place, (v, kind) in enumerate(zip(values, types, strict=True))]  # fmt: skip


def _any_length(kind: Any) -> Any:
    return relax.TensorType([tirx.Var("length", "int64"), *kind.shape.values[1:]], kind.dtype)


def _renewed(op: Op, place: Any) -> Any:
    """The function just made, with names of its own for the sizes that it shares with others."""
    op.bb.update_func(place, relax.utils.copy_with_new_vars(op.bb.get()[place]))
    return place


def _block(op: Op, make: Callable[[], Any]) -> Any:
    op.bb.begin_scope(None)
    op.bb._begin_binding_block()
    result = op.emit(make())
    block = op.bb._end_block()
    op.bb.end_scope()
    return relax.SeqExpr([block], result)


def _below(op: Op, step: Any, limit: Any) -> Any:
    return None if limit is None else op.emit(relax.op.less(step, limit))


def _and(op: Op, one: Any, other: Any) -> Any:
    if one is None or other is None:
        return relax.const(True, "bool") if one is None and other is None else one if other is None else other
    return op.emit(relax.op.logical_and(one, other))


def _kept(op: Op, value: Any, wanted: Any) -> Any:
    """What is carried has one type. Where it is not known whether it has, TVM looks when it runs."""
    given = value.ty
    extents = list(zip(wanted.shape.values, given.shape.values, strict=False)) if given.shape is not None else []
    if (given.dtype, given.ndim) != (wanted.dtype, wanted.ndim) or any(_differ(op, *pair) for pair in extents):
        op.refuse(f"it is not of known length, and what it carries changes from {wanted} to {given}")
    return op.bb.match_cast(value, wanted)


def _differ(op: Op, one: Any, other: Any) -> bool:
    one, other = op.settled(one), op.settled(other)
    return isinstance(one, int) and isinstance(other, int) and one != other


# -- what the body takes from outside ---------------------------------------------------------------------------


def _outer_values(graph: ir.Graph) -> list[ir.Value]:
    inside: set[ir.Value] = set()
    used: dict[ir.Value, None] = {}
    for part in _graphs(graph):
        inside.update(part.inputs)
        inside.update(value for node in part for value in node.outputs)
        used.update((value, None) for node in part for value in node.inputs if value is not None)
        used.update((value, None) for value in part.outputs)
    return [value for value in used if value not in inside]


def _graphs(graph: ir.Graph) -> Iterator[ir.Graph]:
    yield graph
    for node in graph:
        for attribute in node.attributes.values():
            if attribute.type is ir.AttributeType.GRAPH:
                yield from _graphs(attribute.as_graph())


def _is_handed(op: Op, value: ir.Value) -> bool:
    """What is known while compiling is known in the body as well."""
    constant = op.emitter.constant(value)
    return op.emitter.known(value) is None if constant is None else constant.nbytes > _EMBEDDED


def _sizes(op: Op, values: Sequence[Any], known: Sequence[Any]) -> list[Any]:
    """The named sizes that the body may need."""
    extents = list(known)
    for value in values:
        if value.ty.shape is None:
            op.refuse("it is not of known length, and takes something whose shape depends on data")
        extents += value.ty.shape.values
    return sorted(_named(extents), key=lambda var: str(var.name))


def _named(extents: Sequence[Any]) -> set[Any]:
    expressions = [expression(extent) for extent in extents if not isinstance(extent, bool)]
    return {var for extent in expressions for var in tirx.analysis.undefined_vars(tirx.Evaluate(extent))}


def _sizes_of(handed: Sequence[Any]) -> set[Any]:
    last = handed[-1] if handed else None
    return set(last.values) if isinstance(last, relax.ShapeExpr) else set()
