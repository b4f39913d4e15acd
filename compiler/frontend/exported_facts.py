"""What an ExportedProgram says about itself: its inputs and their ranges, its outputs, whether it still trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind, TensorArgument
from torch.utils import _pytree as pytree

from compiler.contracts import Dim, Extent, TensorSpec
from compiler.errors import CompileError
from compiler.frontend import onnx_export
from compiler.frontend.arrays import torch_dtype_name
from compiler.frontend.call import call_of
from compiler.frontend.naming import output_leaves


def exported_specs(exported: ExportedProgram) -> tuple[TensorSpec, ...]:
    call = call_of(exported)
    placeholders = {node.name: node.meta["val"] for node in exported.graph.nodes if node.op == "placeholder"}
    symbols: dict[str, str] = {}
    specs = []
    for name, node in zip(call.leaves, exported.graph_signature.user_inputs, strict=True):
        if not isinstance(name, str):
            continue
        value = placeholders[node]
        dims = tuple(_extent(size, exported, symbols) for size in value.shape)
        specs.append(TensorSpec(name, torch_dtype_name(value.dtype), dims))
    return tuple(specs)


def _extent(size: Any, exported: ExportedProgram, symbols: dict[str, str]) -> Extent:
    if isinstance(size, int):
        return size
    expression = size.node.expr
    bounds = exported.range_constraints.get(expression)
    name = symbols.setdefault(str(expression), f"dim{len(symbols)}")
    step = int(expression.as_coeff_Mul()[0])
    lo, hi = (int(bounds.lower), _finite(bounds.upper)) if bounds is not None else (2, _UNBOUNDED)
    return Dim(name, lo, max(hi // step * step, lo), step)


# A program exported without an upper bound still has to be checked at some upper end.
_UNBOUNDED = 64


def _finite(bound: Any) -> int:
    try:
        value = int(bound)
    except (AttributeError, OverflowError, TypeError, ValueError):  # so many ways has an infinity to be no number
        return _UNBOUNDED
    return value if value < 2**20 else _UNBOUNDED


def within(asked: Extent | str, allowed: Extent | str) -> bool:
    if isinstance(allowed, Dim) and isinstance(asked, Dim):
        return asked.lo in allowed and asked.hi in allowed
    if isinstance(allowed, Dim) and isinstance(asked, int):
        return asked in allowed
    return asked == allowed


def exported_outputs(exported: ExportedProgram) -> dict[str, torch.Tensor]:
    """The fake tensors that the program returns, by name; what else it returns is no part of the graph."""
    values = {node.name: node.meta.get("val") for node in exported.graph.nodes}
    user = [spec.arg for spec in exported.graph_signature.output_specs if spec.kind is OutputKind.USER_OUTPUT]
    tree = exported.call_spec.out_spec
    assert tree is not None
    names = {index: name for name, index in output_leaves(pytree.tree_unflatten(list(range(len(user))), tree))}
    tensors = [(index, each.name) for index, each in enumerate(user) if isinstance(each, TensorArgument)]
    return {names[index]: values[node] for index, node in tensors}


def refuse_outputs(outputs: Mapping[str, torch.Tensor]) -> None:
    if not outputs:
        raise CompileError(
            "no-outputs",
            "the model returns no tensor",
            why="without one there is nothing to compute",
            hint="return what forward computes",
        )
    _refuse_complex(outputs)


def _refuse_complex(outputs: Mapping[str, torch.Tensor]) -> None:
    """The exporter would return them as pairs of floats, without a word."""
    for name, tensor in outputs.items():
        if tensor.dtype.is_complex:
            raise CompileError(
                "complex-numbers",
                f"the output '{name}' is {torch_dtype_name(tensor.dtype)}",
                why="no target returns complex tensors; inside of the model they are fine",
                hint="return torch.view_as_real(y), or y.real and y.imag",
            )


def refuse_training(exported: ExportedProgram) -> None:
    """Dropout or batch statistics that are live make every answer another one."""
    for node in exported.graph.nodes:
        if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
            continue
        given = dict(zip((argument.name for argument in node.target._schema.arguments), node.args, strict=False))
        given |= node.kwargs
        live = given.get("train") is True or given.get("training") is True
        statistics = "running_mean" in given and given["running_mean"] is None
        if live and not statistics:
            raise CompileError(
                "training-mode",
                "the exported program still trains",
                where=onnx_export.line_of(node),
                why=f"{node.target} runs in training mode",
                hint="call model.eval() before torch.export.export; or, where that is meant, --lift-random",
            )
