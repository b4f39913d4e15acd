"""How TVM reaches lower precision: its kernels compute in what the graph says."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.contracts import Route, Unavailable

ROUTES: Mapping[str, Route | Unavailable] = {
    "float16": Route(),
    "bfloat16": Unavailable(
        "TVM does not compile every operator in it: of Gelu and Tanh its vectorizer raises, and some graphs crash it",
        "--target openvino computes in bfloat16 where the CPU does",
    ),
    "int8": Route(),
    "int4": Route(),
}
