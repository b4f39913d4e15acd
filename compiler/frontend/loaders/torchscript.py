"""TorchScript archives, traced or scripted."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.errors import CompileError
from compiler.frontend.hostile.archives import Archive, open_archive
from compiler.frontend.hostile.pickles import foreign_globals
from compiler.frontend.hostile.torchscript import check_torchscript
from compiler.frontend.loaders.failures import reading
from compiler.frontend.loaders.settle import settled

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TracedInput:
    """What an archive tells of a tensor it was traced with: torch stores its type and shape, not its values."""

    dtype: str
    shape: tuple[int, ...]


def load_torchscript(path: str | Path, trust: bool = False) -> tuple[torch.jit.ScriptModule, list[Any] | None]:
    """The module, and the inputs of its forward as traced, in which `TracedInput` stands for each tensor."""
    path = Path(path)
    if not trust:
        check_torchscript(path)
    import torch

    with reading(path, "TorchScript", "save it again with this torch: torch.jit.save(module, ...)"):
        module = torch.jit.load(path, map_location="cpu")
    if not hasattr(module, "forward"):
        raise CompileError("unreadable-model", f"{path} has no forward", why="it is TorchScript of other methods only")
    with open_archive(path) as archive:
        return settled(module), _traced_inputs(archive)


def _traced_inputs(archive: Archive) -> list[Any] | None:
    if "traced_inputs.pkl" not in archive:
        return None
    try:
        data = archive.read("traced_inputs.pkl")
        if foreign_globals(BytesIO(data), frozenset(_CONSTRUCTORS)):
            return None
        inputs = _TracedInputs(BytesIO(data)).load()["forward"]
    except (CompileError, pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError):
        # Only a convenience: the user can still say what the inputs are.
        return None
    return inputs if isinstance(inputs, list) else None


class _TracedInputs(pickle.Unpickler):
    """Unpickles traced inputs with its own few constructors; nothing else can be named, so nothing else can run."""

    def find_class(self, module: str, name: str, /) -> Any:
        return _CONSTRUCTORS[f"{module}.{name}"]

    def persistent_load(self, pid: Any, /) -> Any:
        _, dtype, *_ = pid
        return dtype


_CONSTRUCTORS: dict[str, Any] = {
    "torch.jit._pickle.restore_type_tag": lambda value, _: value,
    "torch._utils._rebuild_tensor_v2": lambda dtype, offset, shape, *_: TracedInput(dtype, tuple(shape)),
    "collections.OrderedDict": OrderedDict,
    "torch.FloatStorage": "float32", "torch.DoubleStorage": "float64", "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16", "torch.LongStorage": "int64", "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16", "torch.CharStorage": "int8", "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool", "torch.ComplexFloatStorage": "complex64", "torch.ComplexDoubleStorage": "complex128",
}  # fmt: skip
