"""Putting weights into the module they were trained in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from compiler.errors import CompileError
from compiler.frontend.loaders.settle import settled
from compiler.frontend.loaders.statedict import StateDict, listed
from compiler.frontend.user_code import user_code

if TYPE_CHECKING:
    import torch


def fill(module: torch.nn.Module, state: StateDict) -> tuple[str, ...]:
    """Give the module these weights, uncopied where their type fits; it may be on the meta device. Notes come back."""
    wanted = module.state_dict(keep_vars=True)
    tensors, notes = _named_alike(state.tensors, wanted)
    shapes = [
        f"{name} is {list(tensors[name].shape)} where {list(entry.shape)} is wanted"
        for name, entry in wanted.items()
        if name in tensors and hasattr(entry, "shape") and entry.shape != tensors[name].shape
    ]
    if shapes:
        raise _misfit(module, {"of another shape": shapes})
    cast = [name for name in tensors if name in wanted and wanted[name].dtype != tensors[name].dtype]
    if cast:
        types = sorted({f"{tensors[name].dtype} to {wanted[name].dtype}".replace("torch.", "") for name in cast})
        notes.append(f"{len(cast)} tensors were converted, {', '.join(types)}, as the module asks")
        tensors |= {name: tensors[name].to(wanted[name].dtype) for name in cast}
    tied = _tied(wanted)
    with user_code("weights-do-not-fit", f"{type(module).__name__} does not take these weights"):
        result = module.load_state_dict(tensors, strict=False, assign=True)
    missing = set(result.missing_keys)
    for group in tied:
        given = [name for name in group if name not in missing]
        if given:
            _tie(module, group, given[-1])
            missing -= set(group)
    problems = {
        "missing": [name for name in result.missing_keys if name in missing],
        "unexpected": list(result.unexpected_keys),
    }
    if any(problems.values()):
        raise _misfit(module, problems)
    refuse_leftover_meta(module)
    settled(module)
    return *state.notes, *notes


def _misfit(module: torch.nn.Module, problems: Mapping[str, list[str]]) -> CompileError:
    return CompileError(
        "weights-do-not-fit",
        f"these weights do not fit {type(module).__name__}",
        why="; ".join(f"{len(names)} {what}: {listed(names)}" for what, names in problems.items() if names),
        hint="build the module with the configuration that the weights were trained with",
    )


def _named_alike(
    tensors: dict[str, torch.Tensor], wanted: Mapping[str, object]
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Take off what DataParallel, torch.compile or Lightning put before every name, where the names fit without."""
    notes: list[str] = []
    while tensors and not tensors.keys() & wanted.keys():
        prefixes = {name.partition(".")[0] for name in tensors}
        shorter = {name.partition(".")[2]: tensor for name, tensor in tensors.items()}
        if len(prefixes) > 1 or "" in shorter:
            return dict(tensors), []
        notes.append(f"'{prefixes.pop()}.' was taken off every name")
        tensors = shorter
    return dict(tensors), notes


def _tied(wanted: Mapping[str, torch.Tensor]) -> list[list[str]]:
    """The names that stand for one and the same parameter."""
    groups: dict[int, list[str]] = {}
    for name, parameter in wanted.items():
        groups.setdefault(id(parameter), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _tie(module: torch.nn.Module, group: list[str], given: str) -> None:
    """Assigning gave each of these names a tensor of its own."""
    owner, _, attribute = given.rpartition(".")
    shared = getattr(module.get_submodule(owner), attribute)
    for name in group:
        owner, _, attribute = name.rpartition(".")
        setattr(module.get_submodule(owner), attribute, shared)


def refuse_leftover_meta(module: torch.nn.Module) -> None:
    left = [name for name, tensor in (*module.named_parameters(), *module.named_buffers()) if tensor.is_meta]
    if left:
        raise CompileError(
            "weights-do-not-fit",
            f"{type(module).__name__} still has tensors without values",
            why=f"it was built on the meta device, and nothing gave values to {listed(left)}",
            hint="build the module on the CPU, so that it computes its own buffers",
        )
