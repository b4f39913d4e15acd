"""Pickled modules: loading one runs whatever code it names, so it takes the user's word."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.errors import CompileError
from compiler.frontend.detect import pickled_globals
from compiler.frontend.loaders.factory import add_to_search_path
from compiler.frontend.loaders.settle import settled
from compiler.frontend.loaders.statedict import WRAPPERS, StateDict, untrusted, unwrap
from compiler.frontend.user_code import user_code
from compiler.quiet import quiet

if TYPE_CHECKING:
    import torch


def load_pickled(path: str | Path, trust: bool) -> torch.nn.Module | StateDict:
    """The module; or the weights, when what was trusted turns out to hold no module."""
    path = Path(path)
    if not trust:
        raise untrusted(path, pickled_globals(path))
    import torch

    add_to_search_path(path.resolve().parent)
    hint = "its classes must be importable from its folder or PYTHONPATH; or give a file:factory and the state dict"
    with user_code("unreadable-model", f"{path} cannot be unpickled", hint), quiet():
        value: Any = torch.load(path, map_location="cpu", weights_only=False)
    if isinstance(value, torch.jit.ScriptModule):
        raise CompileError("unreadable-model", f"{path} is a TorchScript archive", hint="save it with torch.jit.save")
    if isinstance(value, Mapping):
        found = next((value[key] for key in WRAPPERS if isinstance(value.get(key), torch.nn.Module)), None)
        if found is None:
            return unwrap(path, value)
        value = found
    if not isinstance(value, torch.nn.Module):
        raise CompileError(
            "not-a-module",
            f"{path} holds no module",
            why=f"it holds a {type(value).__name__}",
            hint="save the nn.Module itself, or better torch.export's program",
        )
    return settled(value)
