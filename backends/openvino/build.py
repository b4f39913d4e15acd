"""From a legal ONNX file to OpenVINO's IR."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backends.openvino import options as settings
from compiler.contracts import Signature
from compiler.errors import CompileError

MODEL = "model.xml"


def build(
    graph: Path, signature: Signature, options: Mapping[str, Any], out: Path
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Write the IR below `out`; its files, and what is to be remembered about it."""
    import openvino

    settings.check(options, openvino.Core())
    try:
        model = openvino.convert_model(graph)
    except (openvino.frontend.OpConversionFailure, RuntimeError) as error:
        raise CompileError("unsupported-op", "openvino cannot build this model", why=str(error)) from error
    openvino.save_model(model, out / MODEL, compress_to_fp16=options.get("weights") == "float16")
    return (MODEL, str(Path(MODEL).with_suffix(".bin"))), {}
