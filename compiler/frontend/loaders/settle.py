"""How every module leaves the loaders."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

Module = TypeVar("Module", bound="torch.nn.Module")


def settled(module: Module) -> Module:
    """Without dropout, and without gradients: the graph is to hold what inference computes."""
    module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module
