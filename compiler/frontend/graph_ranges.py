"""Which values make sense for an input, read off the graph it feeds.

An input is followed through operators that hand its values on unchanged until one that restricts them: an index
must stay below the rows it selects from, what goes under a root or a logarithm must not be negative.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compiler.contracts import Dim, TensorSpec
from compiler.frontend.program import InputRange

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch.export import ExportedProgram

Rows = int | str  # a number, or the name of a dim


@dataclass(frozen=True)
class _Step:
    """One node as this analysis sees it: values pass from `source` to `target`, or meet a restriction."""

    source: str
    target: str | None = None
    restriction: InputRange | None = None


def _solve(names: Mapping[str, str], steps: Iterable[_Step]) -> dict[str, InputRange]:
    """Follow each input forward; where several restrictions meet it, the tightest holds."""
    origin = dict(names)
    found: dict[str, InputRange] = {}
    for step in steps:
        name = origin.get(step.source)
        if name is None:
            continue
        if step.target is not None:
            origin[step.target] = name
        if step.restriction is not None:
            found[name] = _tighter(found.get(name), step.restriction)
    return found


def _tighter(old: InputRange | None, new: InputRange) -> InputRange:
    if old is None or old.hi is None or (isinstance(new.hi, int) and isinstance(old.hi, int) and new.hi < old.hi):
        return new
    return old


# -- ExportedPrograms -------------------------------------------------------------------------------------------

_ATEN_PASS = {
    "_to_copy", "to", "view", "reshape", "unsqueeze", "squeeze", "expand", "clone", "slice", "select", "permute",
    "transpose", "contiguous", "flatten", "alias", "detach", "type_as", "repeat", "unbind", "lift_fresh_copy", "t",
    "_assert_tensor_metadata",
}  # fmt: skip
_ATEN_INDEX = {
    "embedding": (0, 1),
    "embedding_bag": (0, 1),
    "_embedding_bag": (0, 1),
    "_embedding_bag_forward_only": (0, 1),
}
_ATEN_INDEX_ALONG = {"index_select", "gather", "scatter", "scatter_add", "scatter_reduce", "index_add", "index_copy"}
_POSITIVE = {"sqrt", "log", "rsqrt", "log2", "log10"}


def of_exported(
    exported: ExportedProgram, names: Mapping[str, str], specs: tuple[TensorSpec, ...]
) -> dict[str, InputRange]:
    """`names` maps placeholder nodes to input names."""
    placeholders = {node.name: node.meta.get("val") for node in exported.graph.nodes if node.op == "placeholder"}
    dims = _dim_names(((names[node], value) for node, value in placeholders.items() if node in names), specs)
    return _solve(names, _fx_steps(exported, dims))


def _dim_names(values: Iterable[tuple[str, Any]], specs: tuple[TensorSpec, ...]) -> dict[str, str]:
    by_name = {spec.name: spec for spec in specs}
    return {
        str(size): extent.name
        for name, value in values
        for size, extent in zip(value.shape, by_name[name].dims, strict=True)
        if isinstance(extent, Dim)
    }


def _fx_steps(exported: ExportedProgram, dims: Mapping[str, str]) -> Iterable[_Step]:
    import torch

    def rows(node: Any, axis: int) -> Rows | None:
        shape = node.meta["val"].shape
        size = shape[axis] if shape else 1  # a single number is indexed like a line of one
        return size if isinstance(size, int) else dims.get(str(size))

    for node in exported.graph.nodes:
        if node.op != "call_function":
            continue
        name = node.target.__name__.split(".")[0] if isinstance(node.target, torch._ops.OpOverload) else ""
        args = node.args
        if name in _ATEN_PASS:
            yield _Step(args[0].name, node.name)
        elif name in _ATEN_INDEX:
            data, index = _ATEN_INDEX[name]
            yield _index_step(args[index].name, rows(args[data], 0), name)
            if "bag" in name:
                yield _Step(args[2].name, restriction=_starts(rows(args[1], 0)))
        elif name in _ATEN_INDEX_ALONG:
            yield _index_step(args[2].name, rows(args[0], args[1]), name)
        elif name in ("index", "index_put", "_unsafe_index", "index_put_"):
            for axis, index in enumerate(args[1]):
                if index is not None and index.meta["val"].dtype != torch.bool:
                    yield _index_step(index.name, rows(args[0], axis), name)
        elif name == "one_hot" and isinstance(args[1], int):
            yield _index_step(args[0].name, args[1], name)
        elif name in _POSITIVE:
            yield _Step(args[0].name, restriction=InputRange(lo=0, why=f"goes into {name}"))


def _starts(count: Rows | None) -> InputRange:
    """Where bags begin. If it is not known how many indices there are, all begin at the first and the last has all."""
    return InputRange(lo=0, hi=1 if count is None else count, why="says where bags begin", rising=True)


def _index_step(source: str, rows: Rows | None, operator: str) -> _Step:
    if rows is None:
        return _Step(source)
    return _Step(source, restriction=InputRange(lo=0, hi=rows, why=f"indexes {rows} rows in {operator}"))


# -- ONNX graphs ------------------------------------------------------------------------------------------------

_ONNX_PASS = {
    "Cast", "CastLike", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Expand", "Slice", "Transpose", "Flatten",
    "Tile",
}  # fmt: skip
_ONNX_INDEX_ALONG = {"Gather", "GatherElements", "ScatterElements"}


def of_onnx(model: ir.Model) -> dict[str, InputRange]:
    return _solve({str(value.name): str(value.name) for value in model.graph.inputs}, _onnx_steps(model))


def _onnx_steps(model: ir.Model) -> Iterable[_Step]:
    for node in model.graph:
        if not node.inputs or node.inputs[0] is None:
            continue
        first = str(node.inputs[0].name)
        if node.op_type in _ONNX_PASS:
            yield _Step(first, str(node.outputs[0].name))
        elif node.op_type in _ONNX_INDEX_ALONG and node.inputs[1] is not None:
            yield _index_step(str(node.inputs[1].name), _onnx_rows(node), node.op_type)
        elif node.op_type in ("Sqrt", "Log"):
            yield _Step(first, restriction=InputRange(lo=0, why=f"goes into {node.op_type}"))


def _onnx_rows(node: ir.Node) -> Rows | None:
    data = node.inputs[0]
    axis = node.attributes.get_int("axis", 0)
    if data is None or data.shape is None or not isinstance(axis, int):
        return None
    size = data.shape[axis]
    return size if isinstance(size, int) else size.value
