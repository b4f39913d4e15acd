"""What forward takes, and how named inputs come to their places in it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

from compiler.errors import UsageError, did_you_mean
from compiler.frontend.call import Call, Constant
from compiler.frontend.naming import nest
from compiler.frontend.program import Parameter


def parameters_of(module: torch.nn.Module) -> tuple[Parameter, ...]:
    if isinstance(module, torch.jit.ScriptModule):
        arguments = script_arguments(module)
        return tuple(
            Parameter(argument.name, not argument.has_default_value(), str(argument.type)) for argument in arguments
        )
    return tuple(
        Parameter(name, _is_required(parameter), _annotation(parameter))
        for name, parameter in inspect.signature(module.forward).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    )


def arrange(module: torch.nn.Module, names: list[str], constants: Mapping[str, Any]) -> Call:
    """Inputs and constants of these names, at their places in forward."""
    tree = nest([*names, *constants])
    # A None stands for a place in a tuple that was left out.
    fixed: dict[Any, Any] = {None: None, **constants}
    wrapped = pytree.tree_map(lambda leaf: Constant(fixed[leaf]) if leaf in fixed else leaf, tree)
    if isinstance(module, torch.jit.ScriptModule):
        return _arrange_script(module, wrapped)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    signature = inspect.signature(module.forward).parameters
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.values())
    _check_names(wrapped, list(signature), parameters_of(module), open_ended=open_ended)
    # What stands before `*rest` can only be given by position once there is a rest.
    rest = any(parameter.kind is parameter.VAR_POSITIONAL and name in wrapped for name, parameter in signature.items())
    for name, parameter in signature.items():
        positional = parameter.kind is parameter.POSITIONAL_ONLY or (
            rest and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        )
        if name not in wrapped:
            if positional and rest:
                args.append(Constant(parameter.default))
        elif parameter.kind is parameter.VAR_POSITIONAL:
            if not isinstance(wrapped[name], tuple):
                raise UsageError(
                    "bad-input-spec",
                    f"'{name}' stands for any number of inputs",
                    hint=f"call them {name}.0, {name}.1 and so on",
                )
            args.extend(wrapped[name])
        elif positional:
            args.append(wrapped[name])
        else:
            kwargs[name] = wrapped[name]
    kwargs |= {name: value for name, value in wrapped.items() if name not in signature}
    return Call.of(tuple(args), kwargs)


def _arrange_script(module: torch.jit.ScriptModule, wrapped: Mapping[str, Any]) -> Call:
    """All by position; what is left out before the last one is at its default."""
    arguments = script_arguments(module)
    _check_names(wrapped, [argument.name for argument in arguments], parameters_of(module), open_ended=False)
    count = max((place for place, argument in enumerate(arguments, 1) if argument.name in wrapped), default=0)
    defaults = {argument.name: Constant(argument.default_value) for argument in arguments[:count]}
    return Call.of(tuple((defaults | dict(wrapped)).values()), {})


def script_arguments(module: Any) -> list[Any]:
    """What a ScriptModule's forward takes, without itself."""
    return list(module.forward.schema.arguments[1:])


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL


def _annotation(parameter: inspect.Parameter) -> str:
    if parameter.annotation is parameter.empty:
        return ""
    text = parameter.annotation  # already text where annotations are postponed
    return (text if isinstance(text, str) else inspect.formatannotation(text)).replace("torch.", "")


def _check_names(given: Mapping[str, Any], known: list[str], takes: tuple[Parameter, ...], *, open_ended: bool) -> None:
    for name in given:
        if name not in known and not open_ended:
            raise UsageError(
                "unknown-input",
                f"the model takes no input '{name}'",
                why=f"it takes {', '.join(map(str, takes))}",
                hint=did_you_mean(name, known),
            )
    if missing := [parameter for parameter in takes if parameter.required and parameter.name not in given]:
        raise UsageError(
            "input-mismatch",
            f"the input '{missing[0].name}' is missing",
            why=f"the model takes {', '.join(map(str, takes))}",
            hint=f"add --input '{missing[0].name}{'=VALUE' if missing[0].is_scalar else ':DTYPE[DIMS]'}'",
        )
