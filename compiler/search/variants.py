"""How each runtime may be set: what is known to matter for a goal, and no more, because each one costs time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compiler.search.objective import Goal

Variants = Mapping[str, Mapping[str, Any]]  # words -> options

_ONE_THREAD: Variants = {"threads=1": {"threads": 1}}

# Beside the runtime as it was verified. One thread is faster where a call takes no longer than waking the others.
_OF_TARGET: Mapping[str, Mapping[Goal, Variants]] = {
    "onnxruntime": {
        "latency": {"level=extended": {"graph_optimization_level": "extended"}, **_ONE_THREAD},
        "throughput": {"spinning=false": {"spinning": "false"}, **_ONE_THREAD},
        "memory": {"arena=false prepacking=false": {"arena": "false", "prepacking": "false"}},
    },
    "openvino": {
        "latency": _ONE_THREAD,
        "throughput": {"PERFORMANCE_HINT=THROUGHPUT": {"PERFORMANCE_HINT": "THROUGHPUT"}, **_ONE_THREAD},
    },
    "tvm": {"latency": _ONE_THREAD, "throughput": _ONE_THREAD},
}


def variants(target: str, goal: Goal) -> Variants:
    """The runtime as it was verified first."""
    return {"": {}, **_OF_TARGET.get(target, {}).get(goal, {})}
