"""The two packages that hold TensorRT. Their interfaces are nearly one; what differs stands here."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backends.tensorrt.gpu import Gpu
from compiler.contracts import Unavailable
from compiler.errors import UnavailableError


@dataclass(frozen=True)
class Flavor:
    name: str
    module: str
    title: str
    remedy: str
    needs_gpu_to_build: bool  # it measures kernels on the GPU itself


RTX = Flavor("rtx", "tensorrt_rtx", "TensorRT-RTX", "pip install 'plumbline[tensorrt-rtx]'", needs_gpu_to_build=False)
ENTERPRISE = Flavor(
    "enterprise",
    "tensorrt",
    "TensorRT",
    "pip install 'plumbline[tensorrt]' --extra-index-url https://pypi.nvidia.com",
    needs_gpu_to_build=True,
)
FLAVORS = {flavor.name: flavor for flavor in (RTX, ENTERPRISE)}


@dataclass(frozen=True)
class Runtime:
    """An imported TensorRT."""

    flavor: Flavor
    trt: Any

    @property
    def version(self) -> str:
        return f"{self.flavor.title} {self.trt.__version__}"

    @property
    def compiles_when_loaded(self) -> bool:
        """Whether engines hold code that is finished for the GPU only when they are loaded."""
        return not self.flavor.needs_gpu_to_build

    def architectures(self) -> dict[tuple[int, int], Any]:
        """The GPU architectures that engines can be made for ahead of time; none where it builds for its own GPU."""
        if self.flavor.needs_gpu_to_build:
            return {}
        members: dict[str, Any] = self.trt.ComputeCapability.__members__
        numbers = {name.removeprefix("SM"): member for name, member in members.items() if name.startswith("SM")}
        return {(int(digits[:-1]), int(digits[-1])): member for digits, member in numbers.items()}

    def runs_on(self, gpu: Gpu) -> bool:
        return self.flavor.needs_gpu_to_build or gpu.capability in self.architectures()


def find(wanted: str | None, gpus: Sequence[Gpu]) -> Runtime | Unavailable:
    """The flavour that was asked for, else the one that is installed. Of both, the one that suits this machine:
    `tensorrt` tunes on the GPU that is here, and `tensorrt_rtx` is the only one that builds without a GPU."""
    order = [ENTERPRISE, RTX] if gpus else [RTX, ENTERPRISE]
    reasons = []
    for flavor in [FLAVORS[wanted]] if wanted else order:
        try:
            found = Runtime(flavor, importlib.import_module(flavor.module))
        except (ImportError, OSError) as error:  # OSError: a library that the package needs cannot be loaded
            reasons.append(f"{flavor.module} cannot be imported: {error}")
            continue
        if flavor.needs_gpu_to_build and not gpus:
            why = f"{flavor.module} is installed, but builds only where an NVIDIA GPU is, and there is none"
            return Unavailable(why, f"{RTX.remedy}  # builds without a GPU")
        return found
    return Unavailable("; ".join(reasons), (FLAVORS[wanted] if wanted else RTX).remedy)


def need(wanted: str | None, gpus: Sequence[Gpu]) -> Runtime:
    found = find(wanted, gpus)
    if isinstance(found, Unavailable):
        raise UnavailableError("runtime-missing", "TensorRT is not available", why=found.reason, hint=found.remedy)
    return found
