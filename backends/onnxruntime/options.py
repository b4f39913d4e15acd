"""What can be set, and how it is told to ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from compiler.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    import onnxruntime

HELP: dict[str, str] = {
    "threads": "threads within an operator (default: one per core)",
    "inter_op_threads": "operators that run at the same time (default: 1)",
    "graph_optimization_level": "all (default), extended, basic or disabled: its own rewrites at load time",
    "providers": "execution providers in order, separated by commas (default: CPUExecutionProvider)",
    "arena": "keep freed memory for the next call: true (default) or false",
    "spinning": "idle threads spin instead of sleeping: true (default) or false",
    "prepacking": "weights are laid out anew at load time: true (default) or false, which saves their memory",
    "left_out": "its own rewrites that are left out, separated by semicolons, or none (default on the CPU provider: "
    "SkipLayerNormFusion, whose kernel is slower there than the two that it replaces)",
}

_CPU = "CPUExecutionProvider"
# Measured: docs/backends/onnxruntime.md.
_SLOWER_ON_CPU = "SkipLayerNormFusion"

_LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "disabled": "ORT_DISABLE_ALL",
}


def check(options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in HELP:
            raise UsageError(
                "unknown-option",
                f"onnxruntime has no option '{name}'",
                hint=did_you_mean(name, HELP) or f"one of {', '.join(HELP)}",
            )
    level = options.get("graph_optimization_level", "all")
    if level not in _LEVELS:
        raise UsageError(
            "bad-option", f"graph_optimization_level cannot be '{level}'", hint=f"one of {', '.join(_LEVELS)}"
        )
    for name in ("arena", "spinning", "prepacking"):
        _flag(options, name)
    for name in ("threads", "inter_op_threads"):
        _count(options, name)


def session_options(options: Mapping[str, Any]) -> onnxruntime.SessionOptions:
    import onnxruntime

    check(options)
    made = onnxruntime.SessionOptions()
    made.log_severity_level = 3  # errors only: the rest is about choices we made on purpose
    made.intra_op_num_threads = _count(options, "threads")
    if count := _count(options, "inter_op_threads"):
        made.inter_op_num_threads = count
        made.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    level = _LEVELS[str(options.get("graph_optimization_level", "all"))]
    made.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    made.enable_cpu_mem_arena = _flag(options, "arena")
    if not _flag(options, "spinning"):
        made.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not _flag(options, "prepacking"):
        made.add_session_config_entry("session.disable_prepacking", "1")
    # What it makes of weights in few bits on its own is not to round what they are multiplied with.
    made.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    if left_out := _left_out(options):
        made.add_session_config_entry("optimization.disable_specified_optimizers", left_out)
    return made


def _left_out(options: Mapping[str, Any]) -> str:
    default = _SLOWER_ON_CPU if providers(options) == [_CPU] else "none"
    wanted = str(options.get("left_out", default))
    return "" if wanted == "none" else wanted


def providers(options: Mapping[str, Any]) -> list[str]:
    return [name.strip() for name in str(options.get("providers", _CPU)).split(",")]


def _flag(options: Mapping[str, Any], name: str) -> bool:
    value = str(options.get(name, True)).lower()
    if value not in ("true", "false"):
        raise UsageError("bad-option", f"{name} cannot be '{value}'", hint="true or false")
    return value == "true"


def _count(options: Mapping[str, Any], name: str) -> int:
    value = str(options.get(name) or 0)
    if not value.isdigit():
        raise UsageError("bad-option", f"{name} cannot be '{value}'", hint="a number of threads")
    return int(value)
