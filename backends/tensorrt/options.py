"""What can be set, read once into one value that build and session share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from backends.tensorrt.flavor import FLAVORS
from compiler.errors import UsageError, did_you_mean

HELP: dict[str, str] = {
    "flavor": "rtx or enterprise, where both are installed (default: enterprise with a GPU here, else rtx)",
    "compute_capability": "architectures to build for, as in 8.6,8.9 (default: the GPU's own, else all from 8.0 on)",
    "device": "the number of the GPU to build for and to run on (default: 0)",
    "opt": "the sizes to tune for, such as batch=4,seq=128 (default: the upper end of each range)",
    "tf32": "let float32 products round their factors to 10 bits: true or false (default)",
    "strict_nans": "keep NaN and infinity where a shortcut would lose them: true (default) or false",
    "optimization_level": "how long to search for faster kernels, 0 to 5 (default: TensorRT's own, 3)",
    "workspace": "memory that one operator may use beside its tensors, such as 512M (default: all there is)",
    "version_compatible": "an engine that later versions load through the lean runtime: true or false (default)",
    "strip_weights": "an engine without weights, which opening fills from the graph beside it: true or false (default)",
    "cuda_graphs": "record a call's work for each set of shapes and replay it: true or false (default)",
    "specialization": "kernels made for the sizes of a call, rtx only: eager (default), lazy or none",
    "cache": "a folder for what TensorRT compiles or measures here, read by later builds and sessions (default: none)",
    "threads": "threads of the builder and of loading (default: TensorRT's own)",
}


@dataclass(frozen=True)
class Settings:
    flavor: str | None = None
    compute_capability: tuple[tuple[int, int], ...] = ()
    device: int = 0
    opt: Mapping[str, int] = field(default_factory=dict)
    tf32: bool = False
    strict_nans: bool = True
    optimization_level: int | None = None
    workspace: int | None = None
    version_compatible: bool = False
    strip_weights: bool = False
    cuda_graphs: bool = False
    specialization: str = "eager"
    cache: str | None = None
    threads: int | None = None


def read(options: Mapping[str, Any]) -> Settings:
    """Refuses what is not known and what makes no sense."""
    for name in options:
        if name not in HELP:
            raise UsageError(
                "unknown-option",
                f"tensorrt has no option '{name}'",
                hint=did_you_mean(name, HELP) or f"one of {', '.join(HELP)}",
            )
    return Settings(**{name: _READ[name](name, str(value)) for name, value in options.items() if value is not None})


def _bad(name: str, value: str, hint: str) -> UsageError:
    return UsageError("bad-option", f"{name} cannot be '{value}'", hint=hint)


def _flag(name: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise _bad(name, value, "true or false")
    return value.lower() == "true"


def _word(*known: str) -> Callable[[str, str], str]:
    def read_word(name: str, value: str) -> str:
        if value not in known:
            raise _bad(name, value, did_you_mean(value, known) or f"one of {', '.join(known)}")
        return value

    return read_word


def _number(lowest: int, highest: int | None = None) -> Callable[[str, str], int]:
    def read_number(name: str, value: str) -> int:
        if not value.isdigit() or int(value) < lowest or (highest is not None and int(value) > highest):
            raise _bad(name, value, f"a number from {lowest}" + (f" to {highest}" if highest is not None else " on"))
        return int(value)

    return read_number


def _bytes(name: str, value: str) -> int:
    units = {"k": 2**10, "m": 2**20, "g": 2**30}
    digits, unit = (value[:-1], units.get(value[-1:].lower())) if value[-1:].isalpha() else (value, 1)
    if unit is None or not digits.isdigit():
        raise _bad(name, value, "a size such as 512M or 2G")
    return int(digits) * unit


def _capabilities(name: str, value: str) -> tuple[tuple[int, int], ...]:
    found = []
    for text in value.split(","):
        major, dot, minor = text.strip().partition(".")
        if not (dot and major.isdigit() and minor.isdigit()):
            raise _bad(name, value, "numbers as in 8.6,8.9,12.0")
        found.append((int(major), int(minor)))
    return tuple(dict.fromkeys(found))


def _sizes(name: str, value: str) -> dict[str, int]:
    found = {}
    for text in value.split(","):
        dim, sign, size = text.strip().partition("=")
        if not (sign and dim and size.isdigit()):
            raise _bad(name, value, "sizes as in batch=4,seq=128")
        found[dim] = int(size)
    return found


def _text(name: str, value: str) -> str:
    return value


_READ: dict[str, Callable[[str, str], Any]] = {
    "flavor": _word(*FLAVORS),
    "compute_capability": _capabilities,
    "device": _number(0),
    "opt": _sizes,
    "tf32": _flag,
    "strict_nans": _flag,
    "optimization_level": _number(0, 5),
    "workspace": _bytes,
    "version_compatible": _flag,
    "strip_weights": _flag,
    "cuda_graphs": _flag,
    "specialization": _word("eager", "lazy", "none"),
    "cache": _text,
    "threads": _number(1),
}
