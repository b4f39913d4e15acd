"""Weights without a model: torch.save'd state dicts and safetensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.errors import CompileError
from compiler.frontend.detect import Format, pickled_globals
from compiler.frontend.hostile.safetensors import check_safetensors
from compiler.frontend.loaders.failures import reading

if TYPE_CHECKING:
    import torch

# Where training scripts put the weights within a checkpoint, the likeliest first.
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "module", "weights", "params_ema", "params")

_SHOWN = 5


@dataclass(frozen=True)
class StateDict:
    """Named tensors, and in words what was taken off or left out to get at them."""

    tensors: dict[str, torch.Tensor]
    notes: tuple[str, ...] = ()


def load_state_dict(path: str | Path, format: Format) -> StateDict:
    path = Path(path)
    if format is Format.SAFETENSORS:
        return StateDict(_load_safetensors(path))
    if foreign := pickled_globals(path):
        raise untrusted(path, foreign)
    import torch

    with path.open("rb") as stream:
        # Only the archive format can be mapped into memory; the older one is read as a whole.
        mapped = stream.read(2) == b"PK"
    with reading(path, "a state dict", "save it again: torch.save(model.state_dict(), ...)"):
        value = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    return unwrap(path, value)


def _load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    check_safetensors(path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise CompileError(
            "unreadable-model", f"{path} cannot be read as safetensors", why=str(error), hint="save it again"
        ) from error


def untrusted(path: Path, foreign: tuple[str, ...]) -> CompileError:
    return CompileError(
        "untrusted-pickle",
        f"{path} is a pickle that runs code when it is loaded",
        why=f"it imports {listed(foreign)}",
        hint="save the weights alone (model.state_dict()) or torch.export's program; --trust if you trust its source",
    )


def unwrap(path: Path, value: Any) -> StateDict:
    """Find the tensors in what a training script saved."""
    import torch

    notes: list[str] = []
    while isinstance(value, Mapping) and not _is_state_dict(value):
        key = next((key for key in WRAPPERS if isinstance(value.get(key), Mapping) and value[key]), None)
        if key is None:
            break
        beside = listed(str(other) for other in value if other != key)
        notes.append(f"the weights were taken from '{key}', which lies beside {beside or 'nothing else'}")
        value = value[key]
    if not isinstance(value, Mapping) or not _is_state_dict(value):
        holds = f"a dict of {listed(map(str, value))}" if isinstance(value, Mapping) else f"a {type(value).__name__}"
        raise CompileError(
            "not-a-state-dict",
            f"{path} holds no state dict",
            why=f"it holds {holds}",
            hint="save the weights alone: torch.save(model.state_dict(), ...)",
        )
    tensors = {str(name): entry for name, entry in value.items() if isinstance(entry, torch.Tensor)}
    if left_out := [str(name) for name, entry in value.items() if not isinstance(entry, torch.Tensor)]:
        notes.append(f"left out, not being tensors: {listed(left_out)}")
    return StateDict(tensors, tuple(notes))


def _is_state_dict(value: Mapping[Any, Any]) -> bool:
    """Mostly tensors: some modules add an `_extra_state`, some tools a version number."""
    import torch

    tensors = sum(isinstance(entry, torch.Tensor) for entry in value.values())
    return tensors > 0 and 2 * tensors >= len(value)


def listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
