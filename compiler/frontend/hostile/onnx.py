"""ONNX models: bounded, and with all their external data in their own folder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from compiler.errors import CompileError
from compiler.frontend.hostile.archives import damaged

if TYPE_CHECKING:
    from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto

# protobuf itself reads no larger message; larger models keep their tensors beside the file.
MAX_MODEL = 2 * 1024**3 - 1
# Ten times the largest graph that the passes are measured on.
MAX_NODES = 1_000_000
# Loops within loops: exporters stay below five, and protobuf's own parser gives up at thirty-three.
MAX_DEPTH = 24

_BITS = {
    "FLOAT": 32, "UINT8": 8, "INT8": 8, "UINT16": 16, "INT16": 16, "INT32": 32, "INT64": 64, "BOOL": 8,
    "FLOAT16": 16, "DOUBLE": 64, "UINT32": 32, "UINT64": 64, "COMPLEX64": 64, "COMPLEX128": 128, "BFLOAT16": 16,
    "FLOAT8E4M3FN": 8, "FLOAT8E4M3FNUZ": 8, "FLOAT8E5M2": 8, "FLOAT8E5M2FNUZ": 8, "FLOAT8E8M0": 8,
    "UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "UINT2": 2, "INT2": 2,
}  # fmt: skip


def check_onnx(path: Path) -> ModelProto:
    """The model as parsed, its external tensors checked but not read."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    size = path.stat().st_size
    if size > MAX_MODEL:
        raise CompileError(
            "model-too-large",
            f"{path} is too large for an ONNX file",
            why=f"{size:,} bytes; the format ends at {MAX_MODEL:,}",
            hint="save it with external data: onnx.save(..., save_as_external_data=True)",
        )
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except DecodeError as error:
        raise damaged(path.name, f"it is no ONNX model: {error}") from error
    _check_functions(path, model)
    for tensor in _tensors(path, model):
        _check_tensor(path, tensor)
    return model


def external_files(path: Path) -> list[Path]:
    """The files that hold the model's external tensors."""
    tensors = _tensors(path, check_onnx(path))
    locations = {_entries(path, tensor)["location"] for tensor in tensors if tensor.external_data}
    return [path.parent / location for location in sorted(locations)]


def _unsafe(path: Path, why: str) -> CompileError:
    return CompileError(
        "unsafe-file",
        f"{path} is refused",
        why=why,
        hint="get the model again from a source you know, or save it again with onnx.save",
    )


# ---------------------------------------------------------------------------------------------------------------
# The graph


def _tensors(path: Path, model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor of the model, wherever it hides; counts nodes and depth on the way."""
    graphs = [model.graph]
    for training in model.training_info:
        graphs += [training.initialization, training.algorithm]
    pending: list[tuple[GraphProto | FunctionProto, int]] = [(graph, 0) for graph in (*graphs, *model.functions)]
    nodes = 0
    while pending:
        graph, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise _unsafe(path, f"graphs are nested more than {MAX_DEPTH} deep")
        nodes += len(graph.node)
        if nodes > MAX_NODES:
            raise _unsafe(path, f"it has more than {MAX_NODES:,} nodes")
        if hasattr(graph, "initializer"):
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
        for attribute in _attributes(graph):
            yield from _tensors_of(attribute)
            pending += [(inner, depth + 1) for inner in _graphs_of(attribute)]


def _attributes(graph: GraphProto | FunctionProto) -> Iterator[AttributeProto]:
    yield from getattr(graph, "attribute_proto", ())
    for node in graph.node:
        yield from node.attribute


def _tensors_of(attribute: AttributeProto) -> Iterator[TensorProto]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    sparse = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
    for tensor in (*sparse, *attribute.sparse_tensors):
        yield from (tensor.values, tensor.indices)


def _graphs_of(attribute: AttributeProto) -> list[GraphProto]:
    return [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]


def _check_functions(path: Path, model: ModelProto) -> None:
    """Functions are expanded in place: they may not call themselves, nor each other until memory ends."""
    functions = {(function.domain, function.name, function.overload): function for function in model.functions}
    sizes: dict[tuple[str, str, str], int] = {}

    def expanded(key: tuple[str, str, str], above: tuple[tuple[str, str, str], ...]) -> int:
        if key in above or len(above) > MAX_DEPTH:
            raise _unsafe(path, f"the function {key[1]} calls itself, or {MAX_DEPTH} others in turn")
        if key not in sizes:
            sizes[key] = sum(
                expanded(_key(node), (*above, key)) if _key(node) in functions else 1
                for node in _all_nodes(functions[key].node)
            )
        return sizes[key]

    nodes = sum(expanded(_key(node), ()) for node in _all_nodes(model.graph.node) if _key(node) in functions)
    if nodes > MAX_NODES:
        raise _unsafe(path, f"its functions expand to {nodes:,} nodes; the limit is {MAX_NODES:,}")


def _key(node: NodeProto) -> tuple[str, str, str]:
    return node.domain, node.op_type, node.overload


def _all_nodes(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    pending = list(nodes)
    while pending:
        node = pending.pop()
        yield node
        for attribute in node.attribute:
            for graph in _graphs_of(attribute):
                pending += graph.node


# ---------------------------------------------------------------------------------------------------------------
# External data


def _check_tensor(path: Path, tensor: TensorProto) -> None:
    from onnx import TensorProto

    if any(extent < 0 for extent in tensor.dims):
        raise _unsafe(path, f"the tensor {tensor.name!r} has a negative extent")
    if tensor.data_location != TensorProto.EXTERNAL and not tensor.external_data:
        return
    entries = _entries(path, tensor)
    file = _inside(path, tensor.name, entries["location"])
    offset, length = _number(path, tensor, entries, "offset"), _number(path, tensor, entries, "length")
    size = file.stat().st_size
    start = offset or 0
    end = start + (length if length is not None else max(0, size - start))
    if end > size or start > size:
        raise damaged(file.name, f"the tensor {tensor.name!r} lies at bytes {start:,} to {end:,} of {size:,}")
    bits = _BITS.get(TensorProto.DataType.Name(tensor.data_type))
    if bits is None:
        raise _unsafe(path, f"the tensor {tensor.name!r} is of a type that cannot be external")
    needed = math.ceil(math.prod(tensor.dims) * bits / 8)
    if end - start < needed:
        raise _unsafe(path, f"the tensor {tensor.name!r} needs {needed:,} bytes and has {end - start:,}")


def _entries(path: Path, tensor: TensorProto) -> dict[str, str]:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if len(entries) != len(tensor.external_data) or not entries.get("location"):
        raise _unsafe(path, f"the tensor {tensor.name!r} does not say once where its data is")
    return entries


def _number(path: Path, tensor: TensorProto, entries: dict[str, str], key: str) -> int | None:
    text = entries.get(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise _unsafe(path, f"the {key} of the tensor {tensor.name!r} is {text[:40]!r}")
    return int(text)


def _inside(path: Path, name: str, location: str) -> Path:
    parts = PurePosixPath(location).parts
    leaves = ".." in parts or PurePosixPath(location).is_absolute() or not location.isprintable()
    if leaves or "\\" in location or PureWindowsPath(location).drive:
        raise _unsafe(path, f"the data of the tensor {name!r} lies outside the model's folder: {location!r}")
    file = path.parent
    for part in parts:
        file = file / part
        if file.is_symlink():
            raise CompileError(
                "unsafe-file",
                f"{path} is refused",
                why=f"the data of the tensor {name!r} is behind a link: {location!r}",
                hint="copy the folder so that links become files: cp -rL",
            )
    if not file.is_file():
        raise CompileError(
            "missing-file",
            f"a part of {path} is missing",
            why=f"its tensors are in {location!r}, which is not beside it",
            hint="copy that file, too",
        )
    # onnx-ir refuses these when it reads them: a second name could belong to another folder.
    if file.stat().st_nlink > 1:
        raise CompileError(
            "unsafe-file",
            f"{path} is refused",
            why=f"{location!r} has a second hard link",
            hint=f"copy it: cp {file} {file}.copy && mv {file}.copy {file}",
        )
    return file
