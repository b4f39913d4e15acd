"""What can be set, and how it is told to OpenVINO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from compiler.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    import openvino

DEVICE = "CPU"

# Ours, in lower case; the rest are the runtime's own, under the names that it gives them.
OWN: dict[str, str] = {
    "threads": "threads of all streams together (default: one for each core)",
    "weights": "float32 (default), or float16: half the file, and rounded weights",
    "extension": "a library of OpenVINO extensions to compile and run with; it becomes part of the bundle",
    "cache": "no (default), or yes: keep what OpenVINO makes of the model for the next load",
}
KNOWN: dict[str, str] = {
    "PERFORMANCE_HINT": "LATENCY (default), THROUGHPUT or CUMULATIVE_THROUGHPUT",
    "NUM_STREAMS": "how many requests run at the same time (default: what the hint says)",
    "INFERENCE_PRECISION_HINT": "what it computes in: f32 (default), bf16 or f16 where the CPU has it",
    "EXECUTION_MODE_HINT": "ACCURACY (default) never quantizes on its own; PERFORMANCE may",
    "ENABLE_CPU_PINNING": "threads stay on their core: YES or NO (default: what the hint says)",
    "ENABLE_HYPER_THREADING": "use both threads of a core: YES or NO (default: what the hint says)",
    "SCHEDULING_CORE_TYPE": "ANY_CORE (default), PCORE_ONLY or ECORE_ONLY",
    "CPU_DENORMALS_OPTIMIZATION": "NO (default), or YES: tiny numbers become zero",
}

# Without these a CPU with bfloat16 computes in it, and the inputs of compressed weights are quantized.
_DEFAULTS = {
    "INFERENCE_PRECISION_HINT": "f32",
    "EXECUTION_MODE_HINT": "ACCURACY",
    "PERFORMANCE_HINT": "LATENCY",
}
# Said by `threads`, or no setting of a model at all.
_NOT_OFFERED = {"INFERENCE_NUM_THREADS", "DEVICE_ID", "CACHE_DIR", "WEIGHTS_PATH", "ENABLE_WEIGHTLESS"}

_CHOICES = {"weights": ("float32", "float16"), "cache": ("no", "yes")}  # the default first


def help_texts() -> dict[str, str]:
    """Every option; those that only the installed runtime knows are there when it is."""
    try:
        import openvino
    except ImportError:
        return {**OWN, **KNOWN}
    properties = openvino.Core().get_property(DEVICE, "SUPPORTED_PROPERTIES")
    settable = [name for name, access in properties.items() if access == "RW" and name not in _NOT_OFFERED]
    return {**OWN, **KNOWN, **{name: "see OpenVINO's properties" for name in settable if name not in KNOWN}}


def check(options: Mapping[str, Any], core: openvino.Core) -> None:
    """The runtime itself says whether it takes a value."""
    known = help_texts()
    for name in options:
        if name not in known:
            raise UsageError(
                "unknown-option",
                f"openvino has no option '{name}'",
                hint=did_you_mean(name, known) or f"one of {', '.join(known)}",
            )
    _threads(options)
    for name, choices in _CHOICES.items():
        if options.get(name, choices[0]) not in choices:
            raise UsageError("bad-option", f"{name} cannot be '{options[name]}'", hint=" or ".join(choices))
    for name in options:
        if name not in OWN:
            _try(name, str(options[name]), core)


def _try(name: str, value: str, core: openvino.Core) -> None:
    """Values are looked at only when a model is compiled; the smallest will do."""
    from openvino import Model, Shape, Type, opset8

    number = opset8.parameter(Shape([]), Type.f32)
    try:
        core.compile_model(Model([opset8.relu(number)], [number]), DEVICE, {name: value})
    except RuntimeError as error:
        why = str(error).strip().splitlines()[-1]
        raise UsageError("bad-option", f"{name} cannot be '{value}'", why=why, hint=KNOWN.get(name)) from error


def properties(options: Mapping[str, Any]) -> dict[str, str]:
    """What a model is compiled with."""
    own = {name: str(value) for name, value in options.items() if name not in OWN}
    if threads := _threads(options):
        own["INFERENCE_NUM_THREADS"] = str(threads)
    return {**_DEFAULTS, **own}


def _threads(options: Mapping[str, Any]) -> int:
    value = str(options.get("threads") or 0)
    if not value.isdigit():
        raise UsageError("bad-option", f"threads cannot be '{value}'", hint="a number of threads")
    return int(value)
