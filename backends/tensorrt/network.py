"""From a graph in an ONNX file to TensorRT's network, or an error that names our nodes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.tensorrt.places import Places, listed
from compiler.errors import CompileError


@dataclass(frozen=True)
class Network:
    """TensorRT's network, and what owns the weights that it points to."""

    layers: Any
    parser: Any


def parse(trt: Any, builder: Any, log: Any, graph: Path) -> Network:
    """Strongly typed: every operator computes in the type that the graph gives it."""
    network = builder.create_network(_flags(trt))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(graph)):
        raise _refused(parser, graph)
    _let_attention_decompose(trt, network)
    _refuse_shape_inputs(network)
    return Network(network, parser)


def _flags(trt: Any) -> int:
    return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def _let_attention_decompose(trt: Any, network: Any) -> None:
    """There are kernels for attention as a whole in half precision only; otherwise the build ends without this."""
    kind = getattr(trt.LayerType, "ATTENTION_INPUT", None)
    for layer in network:
        if kind is not None and layer.type == kind:
            layer.__class__ = trt.IAttentionInputLayer
            layer.attention.decomposable = True


def _refuse_shape_inputs(network: Any) -> None:
    """A profile would need the range of the values themselves, which no signature holds."""
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        if tensor.is_shape_tensor:
            raise CompileError(
                "unsupported-op",
                "TensorRT cannot build this model",
                where=f"input '{tensor.name}'",
                why="its values decide the shape of other tensors, and TensorRT would need to know their range",
                hint="make it a constant of the model, or another --target",
            )


def _refused(parser: Any, graph: Path) -> CompileError:
    places = Places(graph)
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    operators = dict.fromkeys(operator for error in errors if (operator := _operator(error)))
    return CompileError(
        "unsupported-op",
        "TensorRT cannot build this model",
        where=listed([places.node(error.node_name(), _operator(error)) for error in errors]) or None,
        why="; ".join(dict.fromkeys(f"{_operator(error) or 'the graph'}: {_reason(error)}" for error in errors)),
        hint=f"another --target, or a model without {', '.join(operators)}" if operators else "another --target",
    )


def _operator(error: Any) -> str:
    """Some errors only say in which function they arose: importScatterElements."""
    return str(error.node_operator()) or str(error.func()).removeprefix("import")


def _reason(error: Any) -> str:
    """The part that was written for people: of 'Assertion failed: (x > 0) && "no x"' it is 'no x'."""
    text = str(error.desc())
    quoted = re.search(r'&& "(.+)"$', text, re.S)
    if quoted:
        return quoted[1]
    if text.startswith("Assertion failed: "):
        return text.removeprefix("Assertion failed: ").rpartition("): ")[2]
    code = str(error.code()).rpartition(".")[2].partition(":")[0]
    return text if text not in ("", "false") else code.lower().replace("_", " ")
