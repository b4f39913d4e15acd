"""A model file in words, for `compile inspect`. As much as can be told without running code that comes with it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from compiler.frontend.detect import Format, pickled_globals
from compiler.frontend.open import open_program, source_files
from compiler.frontend.program import Program, Request

if TYPE_CHECKING:
    from compiler.frontend.loaders.statedict import StateDict

_SHOWN = 20


def model(request: Request, found: Format) -> dict[str, Any]:
    name = str(request.model)
    facts: dict[str, Any] = {"path": name, "format": found.value}
    facts["bytes"] = sum(path.stat().st_size for path in source_files(name, found))
    if found is Format.PICKLED_MODULE and not request.trust:
        return facts | {"would import": ", ".join(pickled_globals(request.path)), "inputs": ["unknown without --trust"]}
    if found in (Format.STATE_DICT, Format.SAFETENSORS) and request.factory is None:
        from compiler.frontend.loaders.statedict import load_state_dict

        return facts | _weights(load_state_dict(request.path, found))
    program = open_program(request)
    source = program.source
    facts |= {"sha256": source.sha256} if source.sha256 else {}
    facts |= {key: value for key, value in source.facts.items() if value}
    return facts | _interface(program)


def _weights(weights: StateDict) -> dict[str, Any]:
    tensors = weights.tensors
    dtypes = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values())
    return {
        "tensors": len(tensors),
        "parameters": sum(tensor.numel() for tensor in tensors.values()),
        "dtypes": ", ".join(f"{name} × {count}" for name, count in dtypes.most_common()),
        "takes": ["unknown: weights only; --model FILE.PY:NAME says what uses them"],
    }


def _interface(program: Program) -> dict[str, Any]:
    declared = [str(spec) for spec in program.declared()]
    facts: dict[str, Any] = {"takes": [str(parameter) for parameter in program.parameters()]}
    if declared:
        facts["inputs"] = declared
    elif suggested := [str(spec) for spec in program.suggested()]:
        facts["suggested"] = suggested
    if (operators := _operators(program)) is not None:
        facts["operators"] = operators
    return facts


def _operators(program: Program) -> list[str] | None:
    """For a file that already is a graph."""
    if program.source.format != Format.ONNX:
        return None
    counted = Counter(node.op_type for node in program.capture(0).graph)
    return [f"{count:5d} {name}" for name, count in counted.most_common(_SHOWN)]
