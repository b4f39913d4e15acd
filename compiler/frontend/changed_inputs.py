"""Inputs that forward writes to: what is compiled leaves its inputs alone, and returns what forward leaves in them."""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram

from compiler.frontend.call import Call
from compiler.frontend.naming import output_leaves
from compiler.frontend.recurrent import dynamic_recurrence
from compiler.frontend.state import writes_in_place
from compiler.quiet import quiet


def changed_inputs(exported: ExportedProgram, call: Call) -> tuple[str, ...]:
    """Which they are. Only without in-place operators does a program tell what is written to, and not a copy of it."""
    if not writes_in_place(exported):
        return ()
    names = dict(zip(exported.graph_signature.user_inputs, call.leaves, strict=True))
    with quiet(), dynamic_recurrence():
        functional = exported.run_decompositions(_MENDED)
    targets = functional.graph_signature.user_inputs_to_mutate.values()
    return tuple(str(names[target]) for target in dict.fromkeys(targets))


def _std_mean(
    data: torch.Tensor, dim: list[int] | None, unbiased: bool = True, keepdim: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.std_mean(data, dim, correction=int(unbiased), keepdim=keepdim)


# torch 2.13 has a decomposition of its own here, which does not take what the operator takes.
_MENDED = {torch.ops.aten.std_mean.dim: _std_mean}


class ReturningChanged(torch.nn.Module):
    """A module that also returns, under names of their own, the inputs that it changes."""

    def __init__(self, module: torch.nn.Module, call: Call, changed: tuple[str, ...]) -> None:
        super().__init__()
        self.inner = module
        self._call = call
        self._changed = changed

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        given = dict(zip(self._call.leaves, self._call.tree.flatten_up_to((args, kwargs)), strict=True))
        outputs = dict(output_leaves(self.inner(*args, **kwargs)))
        # A copy, because the float64 run writes to stand-ins, which only an operator knows.
        return outputs | {after(name): given[name].clone() for name in self._changed}


def after(name: str) -> str:
    return f"{name}_after"


def told(changed: tuple[str, ...]) -> str:
    old, new = (", ".join(f"'{name}'" for name in names) for names in (changed, map(after, changed)))
    return f"forward changes {old} in place; what is compiled leaves its inputs alone, and returns {new}"
