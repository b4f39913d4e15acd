"""Modules that hold ScriptModules: torch.export fails on those, or fixes the dims that their code looks at."""

from __future__ import annotations

import torch

from compiler.errors import CompileError
from compiler.frontend.user_code import user_code
from compiler.quiet import quiet


def script_parts(module: torch.nn.Module) -> dict[str, torch.jit.ScriptModule]:
    """The outermost, by name."""
    found: dict[str, torch.jit.ScriptModule] = {}
    for name, part in module.named_modules():
        within = any(name.startswith(f"{outer}." if outer else "") for outer in found)
        if isinstance(part, torch.jit.ScriptModule) and not within:
            found[name] = part
    return found


def as_one_script(module: torch.nn.Module, failure: CompileError) -> torch.jit.ScriptModule:
    """The whole in TorchScript, which has a route of its own; `failure` where nothing in it is a script."""
    parts = script_parts(module)
    if not parts:
        raise failure
    first = next(iter(parts))
    with (
        user_code(
            "capture-failed",
            f"torch.export cannot capture a model whose part '{first}' is TorchScript, nor can the whole be scripted",
            hint=f"put the plain nn.Module in place of '{first}', or write the whole so that torch.jit.script takes it",
        ),
        quiet(),
    ):
        script: torch.jit.ScriptModule = torch.jit.script(module)
    return script
