"""The machine as the manifest records it, and whether an artifact that was built on another one can run here."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from compiler.contracts import Artifact, Ready
from compiler.errors import UnavailableError

# The flags that change which instructions a compiler or a runtime picks; the others would only make noise.
_RELEVANT = (
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512vl",
    "avx512bw",
    "avx512_vnni",
    "avx512_bf16",
    "amx",
)


@cache
def facts() -> dict[str, Any]:
    return {
        "machine": _machine(),
        "system": sys.platform,
        "python": sys.version.split()[0],
        "cpu": _cpu_name(),
        "cpu_features": _cpu_features(),
        "cores": os.cpu_count(),
    }


def _machine() -> str:
    return os.uname().machine  # `platform` would say the same, but takes longer to import than this whole file


def _cpuinfo(field: str) -> str:
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == field:
                return value.strip()
    return ""


def _cpu_name() -> str:
    return _cpuinfo("model name") or _machine()


def _cpu_features() -> list[str]:
    flags = (_cpuinfo("flags") or _cpuinfo("Features")).split()
    return [flag for flag in flags if flag.startswith(_RELEVANT)]


def check(built_on: Mapping[str, Any], artifact: Artifact, state: Ready) -> None:
    """Native code needs the CPU it was built for; a portable graph merely notes another runtime version."""
    here = facts()
    if artifact.facts.get("native_code"):
        lacking = sorted(set(artifact.facts.get("cpu_features", built_on["cpu_features"])) - set(here["cpu_features"]))
        if built_on["machine"] != here["machine"] or lacking:
            raise UnavailableError(
                "other-cpu",
                f"this artifact holds native code for another CPU ({built_on['cpu']})",
                why=f"this one lacks {', '.join(lacking)}" if lacking else f"this one is {here['machine']}",
                hint="compile the model again on this machine",
            )
    if artifact.runtime != state.version:
        warnings.warn(
            f"built and verified with {artifact.runtime}, running on {state.version}; `compile verify` tells "
            "whether the numbers still hold",
            stacklevel=3,
        )
