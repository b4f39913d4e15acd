"""How TensorRT reaches lower precision: its networks are strongly typed, so that the graph says it all."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.contracts import Route, Unavailable

ROUTES: Mapping[str, Route | Unavailable] = {
    "float16": Route(),
    "bfloat16": Route(
        wide={
            "ConvTranspose": "TensorRT-RTX cannot build it in bfloat16",
            "GRU": "TensorRT's parser mixes float32 into it",
        }
    ),
    "int8": Route(signed=True),  # it knows no other 8 bits to compute with
    "int4": Route(),
}
