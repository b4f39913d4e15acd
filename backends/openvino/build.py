"""From a legal ONNX file to OpenVINO's IR."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from backends.openvino import extensions
from backends.openvino import options as settings
from backends.openvino.integers import bound
from backends.openvino.refusals import refuse_wrong
from compiler.contracts import Array, Signature
from compiler.errors import CompileError

if TYPE_CHECKING:
    import openvino

MODEL = "model.xml"
GUARD = "plumbline.largest"  # the output that watches floats on their way to integers


def build(
    graph: Path, signature: Signature, options: Mapping[str, Any], out: Path, target: str
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Write the IR below `out`; its files, and what a session has to know about it."""
    import openvino

    from compiler.passes.infer_shapes import InferShapes

    core = openvino.Core()
    settings.check(options, core)
    extension = extensions.adopt(options, out, core)
    source = ir.load(graph)
    InferShapes()(source)  # expanding operators left values without a type
    refuse_wrong(source, target)
    integers = bound(source, signature.dims, target)
    facts = dict(extensions.FACTS) if extension else {}
    if integers is not None:
        facts["largest_integer"] = integers.largest
    if integers is not None and integers.watched:
        facts["guard"] = GUARD
        _watch(source, integers.watched)
        _save(source, graph)
    model = _converted(graph, extension, source, target)
    openvino.save_model(model, out / MODEL, compress_to_fp16=options.get("weights") == "float16")
    return (MODEL, str(Path(MODEL).with_suffix(".bin")), *([extension.name] if extension else [])), facts


def _watch(model: ir.Model, watched: Sequence[ir.Value]) -> None:
    """One more output: the largest magnitude among these floats."""
    graph = model.graph
    zero = _initializer(graph, "zero", np.zeros(1, np.float32))  # for when there are no elements
    flat = _initializer(graph, "flat", np.array([-1]))
    axes = _initializer(graph, "axes", np.array([0]))
    parts = [zero]
    for value in watched:
        wide = ir.node("Cast", [value], {"to": ir.DataType.FLOAT})
        shaped = ir.node("Reshape", [wide.outputs[0], flat])
        graph.extend([wide, shaped])
        parts.append(shaped.outputs[0])
    joined = ir.node("Concat", parts, {"axis": 0})
    size = ir.node("Abs", joined.outputs)
    largest = ir.node("ReduceMax", [size.outputs[0], axes], {"keepdims": 0})
    graph.extend([joined, size, largest])
    (output,) = largest.outputs
    output.name, output.dtype, output.shape = GUARD, ir.DataType.FLOAT, ir.Shape([])
    graph.outputs.append(output)


def _initializer(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    value = ir.Value(name=f"{GUARD}.{name}", const_value=ir.tensor(array, name=f"{GUARD}.{name}"))
    graph.register_initializer(value)
    return value


def _save(model: ir.Model, graph: Path) -> None:
    """In place of the graph; weights that lie beside it stay where they are."""
    changed = graph.with_name(f"guarded-{graph.name}")
    ir.save(model, changed)
    changed.rename(graph)


def _converted(graph: Path, extension: Path | None, source: ir.Model, target: str) -> openvino.Model:
    import openvino

    try:
        return openvino.convert_model(graph, extension=None if extension is None else str(extension))
    except (RuntimeError, openvino.frontend.OpConversionFailure) as error:
        raise _refused(str(error), source, target) from error


def _refused(message: str, source: ir.Model, target: str) -> CompileError:
    """The frontend names our nodes by their own names or by their first outputs."""
    from compiler.ir.provenance import describe

    nodes: dict[str | None, ir.Node] = {}
    for node in ir.traversal.RecursiveGraphIterator(source.graph):
        for name in (node.name, *(value.name for value in node.outputs)):
            nodes.setdefault(name, node)
    named = [nodes[name] for name in re.findall(r"<Node\(\w+\): ([^>]+)>", message) if name in nodes]
    reasons = [line for line in message.splitlines() if line and not _is_noise(line)]
    return CompileError(
        "unsupported-op",
        f"{target} cannot build this model",
        where="; ".join(dict.fromkeys(describe(node) for node in named[:3])) or None,
        why=" / ".join(dict.fromkeys(reasons[:4])) or message.strip(),
        hint=f"another --target may take it, or OpenVINO with --option openvino.{extensions.OPTION}=FILE.so",
    )


def _is_noise(line: str) -> bool:
    return line.startswith(("Check '", "Exception from", "FrontEnd API failed", "Model wasn't fully", "Summary:"))
