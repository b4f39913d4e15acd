"""What a caller in Python hands over: a live module, and inputs as specs, tensors or arrays."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compiler.contracts import Arrays
from compiler.errors import UsageError

Inputs = Mapping[str, Any] | Sequence[Any]


def inputs_of(model: Any, inputs: Inputs | None) -> tuple[tuple[str, ...], Arrays | None]:
    """Specs as text, and data as named arrays."""
    if inputs is None:
        return (), None
    if isinstance(inputs, str):
        return (inputs,), None
    if isinstance(inputs, Mapping):
        return (), _arrays(inputs)
    items = list(inputs)
    if all(isinstance(item, str) for item in items):
        return tuple(items), None
    names = _argument_names(model, len(items))
    if len(items) > len(names):
        message = f"{len(items)} inputs were given, and the model takes {len(names)}"
        raise UsageError("input-mismatch", message, hint=f"it takes {', '.join(names)}")
    return (), _arrays(dict(zip(names, items, strict=False)))


def _argument_names(model: Any, count: int) -> list[str]:
    """What arguments in order are called; `*rest` is rest.0, rest.1 and so on."""
    if not hasattr(model, "forward"):
        raise UsageError(
            "inputs-unnamed",
            "inputs in order need a module whose forward names them",
            hint="pass a mapping from input name to tensor",
        )
    names: list[str] = []
    for name, parameter in inspect.signature(model.forward).parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{name}.{number}" for number in range(count - len(names))]
        elif parameter.kind is not parameter.VAR_KEYWORD:
            names.append(name)
    return names


def _arrays(inputs: Mapping[str, Any]) -> Arrays:
    import torch

    from compiler.frontend.arrays import to_numpy
    from compiler.frontend.naming import named_leaves

    leaves = dict(named_leaves(dict(inputs)))
    return {
        name: to_numpy(leaf) if isinstance(leaf, torch.Tensor) else np.asarray(leaf) for name, leaf in leaves.items()
    }


class eval_mode:  # noqa: N801 - reads as a statement where it is used
    """A live module is compiled in eval mode and handed back as it came."""

    def __init__(self, model: Any) -> None:
        modules = model.modules() if hasattr(model, "modules") else ()
        self._modes = [(module, module.training) for module in modules]

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        for module, training in self._modes:
            module.training = training
