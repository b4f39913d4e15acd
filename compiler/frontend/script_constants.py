"""A script's arguments that are no tensors, written into the script: its exporter takes tensors only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from compiler.errors import CompileError
from compiler.frontend.call import Call, Constant
from compiler.frontend.user_code import user_code


def with_constants(module: torch.jit.ScriptModule, call: Call) -> tuple[torch.jit.ScriptModule, Call]:
    """A script that calls this one with the constants of `call` filled in, and how to call it with the rest."""
    if len(call.names) == len(call.leaves):
        return module, call
    arguments, _ = pytree.tree_unflatten(call.leaves, call.tree)
    declared, passed, left = [], [], []
    for place, (argument, value) in enumerate(zip(_parameters(module), arguments, strict=False)):
        leaves = pytree.tree_leaves(value)
        if all(isinstance(leaf, Constant) for leaf in leaves):
            passed.append(_literal(value))
        elif any(isinstance(leaf, Constant) for leaf in leaves):
            raise CompileError(
                "capture-failed",
                f"the script's argument '{argument.name}' mixes tensors and numbers",
                why="TorchScript's ONNX exporter takes tensors only",
                hint="script the module anew with the numbers as arguments of their own, or fixed inside",
            )
        else:
            # A tensor that is there is no optional one any more.
            declared.append(f"a{place}: {'Tensor' if isinstance(value, str) else argument.type}")
            passed.append(f"a{place}")
            left.append(value)
    holder = torch.nn.Module()
    holder.inner = module
    outer: Any = torch.jit.script(holder)
    with user_code("capture-failed", "the script does not take the scalars that were given"):
        outer.define(f"def forward(self, {', '.join(declared)}):\n    return self.inner({', '.join(passed)})\n")
    return outer.eval(), Call.of(tuple(left), {})


def _parameters(module: torch.jit.ScriptModule) -> Sequence[Any]:
    forward: Any = module.forward
    return list(forward.schema.arguments[1:])


def _literal(value: Any) -> str:
    """The value in TorchScript's own syntax."""
    value = value.value if isinstance(value, Constant) else value
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{value}')"
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(_literal, value))},)" if value else "()"
    return repr(value)
