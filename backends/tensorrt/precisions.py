"""How TensorRT reaches lower precision: its networks are strongly typed, so that the graph says it all."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.contracts import Route, Unavailable

ROUTES: Mapping[str, Route | Unavailable] = {name: Route() for name in ("float16", "bfloat16", "int8", "int4")}
