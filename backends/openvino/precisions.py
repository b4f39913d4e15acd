"""How OpenVINO's CPU plugin reaches lower precision.

bfloat16 by the graph and the plugin's hint together. The graph alone would be computed in float32, with roundings; the
hint alone is as fast and as exact, but leaves 32 bits for each weight in the file. Without hardware for it the hint is
ignored. Its hint for float16 is never used: where the CPU lacks that, the plugin computes in bfloat16 instead. Then a
graph in float16 is computed in float32, with roundings.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from compiler.contracts import Route, Unavailable

_NO_BFLOAT16 = Unavailable(
    "this CPU has no instructions for bfloat16 (avx512_bf16 or amx_bf16)",
    "compile on a CPU that has them, or --precision int8",
)


def routes() -> Mapping[str, Route | Unavailable]:
    import openvino

    return routes_for(openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def routes_for(capabilities: Collection[str]) -> Mapping[str, Route | Unavailable]:
    bfloat16 = Route(options={"INFERENCE_PRECISION_HINT": "bf16"})
    return {
        "float16": Route(),
        "bfloat16": bfloat16 if "BF16" in capabilities else _NO_BFLOAT16,
        "int8": Route(),
        "int4": Route(),
    }
