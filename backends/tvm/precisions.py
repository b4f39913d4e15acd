"""How TVM reaches lower precision: its kernels compute in what the graph says."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.contracts import Route, Unavailable

ROUTES: Mapping[str, Route | Unavailable] = {name: Route() for name in ("float16", "bfloat16", "int8", "int4")}
