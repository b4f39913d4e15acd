"""What can be set, and what it means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from compiler.contracts import Signature
from compiler.errors import UsageError, did_you_mean

HELP: dict[str, str] = {
    "threads": "threads within a kernel (default: one per core)",
    "mcpu": "the CPU that code is made for, as LLVM calls it: haswell, znver4, ... (default: this one)",
    "kernels": "fast (default), or plain: TVM's own, slow ones, to tell a kernel's fault from the model's",
    "bind": "pin idle-spinning threads to cores: true or false (default), which is better beside other work",
    "cache": "yes (default), or no: a library that was compiled before, from the same kernels, is not compiled again",
    "target": "cpu (default), or cuda: NVIDIA's GPU, with TVM's own kernels",
    "specialize": "dims that get code of their own for the low end of their ranges: h,w (default: none)",
    "tune": "seconds to search for faster schedules where we have none by hand: 300s, 5m (default: none)",
}

# The default first.
_CHOICES = {"kernels": ("fast", "plain"), "cache": ("yes", "no"), "target": ("cpu", "cuda")}


def check(options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in HELP:
            raise UsageError(
                "unknown-option",
                f"tvm has no option '{name}'",
                hint=did_you_mean(name, HELP) or f"one of {', '.join(HELP)}",
            )
    for name, choices in _CHOICES.items():
        if str(options.get(name, choices[0])) not in choices:
            raise UsageError("bad-option", f"{name} cannot be '{options[name]}'", hint=" or ".join(choices))
    threads(options)
    binds(options)
    if tuning_seconds(options) is not None and (on_gpu(options) or options.get("kernels", "fast") != "fast"):
        raise UsageError("bad-option", "tune is for our own kernels, on the CPU", hint="without kernels and target")


def threads(options: Mapping[str, Any]) -> int:
    """0 where it is left to the machine."""
    value = str(options.get("threads") or 0)
    if not value.isdigit():
        raise UsageError("bad-option", f"threads cannot be '{value}'", hint="a number of threads")
    return int(value)


def binds(options: Mapping[str, Any]) -> bool:
    value = str(options.get("bind", False)).lower()
    if value not in ("true", "false"):
        raise UsageError("bad-option", f"bind cannot be '{value}'", hint="true or false")
    return value == "true"


def keeps_libraries(options: Mapping[str, Any]) -> bool:
    return str(options.get("cache", "yes")) == "yes"


def on_gpu(options: Mapping[str, Any]) -> bool:
    return str(options.get("target", "cpu")) == "cuda"


def tuning_seconds(options: Mapping[str, Any]) -> float | None:
    """0 takes what was found before and looks for nothing new."""
    if "tune" not in options:
        return None
    value = str(options["tune"])
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|)", value)
    if found is None:
        raise UsageError("bad-option", f"tune cannot be '{value}'", hint="a time: 300s, or 5m")
    return float(found[1]) * (60 if found[2] == "m" else 1)


def special_sizes(options: Mapping[str, Any], signature: Signature) -> dict[str, int]:
    """The dims that get code of their own, with their low end: the one size that is always verified."""
    dims, sizes = signature.dims, {}
    for name in str(options.get("specialize", "")).split(",") if options.get("specialize") else ():
        if name.strip() not in dims:
            raise UsageError(
                "bad-option",
                f"specialize names a dim '{name.strip()}', which the model does not have",
                hint=did_you_mean(name.strip(), dims)
                or f"its dims are {', '.join(map(str, dims.values())) or 'fixed'}",
            )
        sizes[name.strip()] = dims[name.strip()].lo
    return sizes


def check_mcpu(options: Mapping[str, Any]) -> None:
    """Only where the compiler is at hand: LLVM takes an unknown CPU for a generic one and goes on."""
    wanted = options.get("mcpu")
    if not wanted:
        return
    from tvm import target

    host = target.Target({"kind": "llvm"})
    known = [str(name) for name in target.codegen.llvm_get_cpu_archlist(host)]
    if wanted not in known:
        raise UsageError("bad-option", f"there is no CPU '{wanted}'", hint=did_you_mean(str(wanted), known))
