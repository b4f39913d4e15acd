"""How ONNX Runtime's CPU provider reaches lower precision."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.contracts import Route, Unavailable

ROUTES: Mapping[str, Route | Unavailable] = {
    "float16": Route(),
    "bfloat16": Unavailable(
        "ONNX Runtime's CPU provider has no bfloat16 kernels",
        "--target openvino computes in bfloat16 where the CPU does; here, float16 halves the file",
    ),
    "int8": Route(),
    "int4": Route(),
}
