"""What a program draws at random becomes inputs of it: then there is one right answer, and it can be judged.

Random functions are met where the program calls them. Once they are only watched, to see what each draws; from then on
each takes its noise from an input, which is uniform between 0 and 1 or normal, as the function needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.overrides import TorchFunctionMode

from compiler.contracts import Dim, Extent, TensorSpec
from compiler.errors import CompileError
from compiler.frontend.arrays import torch_dtype_name
from compiler.frontend.call import Call
from compiler.frontend.program import InputRange
from compiler.frontend.user_code import current_user_line

_UNIFORM, _NORMAL = (0, 1), (None, None)


# -- what random functions make of their noise ------------------------------------------------------------------


def _itself(noise: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    return noise


def _normal(noise: torch.Tensor, mean: Any = 0.0, std: Any = 1.0, *_: Any, **__: Any) -> torch.Tensor:
    return mean + std * noise


def _normal_(noise: torch.Tensor, tensor: torch.Tensor, mean: float = 0.0, std: float = 1.0, **_: Any) -> torch.Tensor:
    return tensor.copy_(mean + std * noise)


def _uniform_(noise: torch.Tensor, tensor: torch.Tensor, *ends: float, **named: Any) -> torch.Tensor:
    low, high = (*ends, *(0.0, 1.0)[len(ends) :])
    low, high = named.get("from", low), named.get("to", high)
    return tensor.copy_(low + (high - low) * noise)


def _exponential_(noise: torch.Tensor, tensor: torch.Tensor, lambd: float = 1.0, **_: Any) -> torch.Tensor:
    return tensor.copy_(-torch.log1p(-noise) / lambd)


def _bernoulli(noise: torch.Tensor, tensor: torch.Tensor, p: Any = None, **_: Any) -> torch.Tensor:
    return (noise < (tensor if p is None else p)).to(tensor.dtype)


def _bernoulli_(noise: torch.Tensor, tensor: torch.Tensor, p: Any = 0.5, **_: Any) -> torch.Tensor:
    return tensor.copy_(noise < p)


def _dropout(
    noise: torch.Tensor, tensor: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, **_: Any
) -> torch.Tensor:
    kept = torch.where(noise >= p, tensor / (1 - p) if p < 1 else torch.zeros_like(tensor), torch.zeros_like(tensor))
    return tensor.copy_(kept) if inplace else kept


_RANDOM: dict[str, tuple[tuple[int | None, int | None], Callable[..., torch.Tensor]]] = {
    "rand": (_UNIFORM, _itself),
    "rand_like": (_UNIFORM, _itself),
    "randn": (_NORMAL, _itself),
    "randn_like": (_NORMAL, _itself),
    "normal": (_NORMAL, _normal),
    "normal_": (_NORMAL, _normal_),
    "uniform_": (_UNIFORM, _uniform_),
    "exponential_": (_UNIFORM, _exponential_),
    "bernoulli": (_UNIFORM, _bernoulli),
    "bernoulli_": (_UNIFORM, _bernoulli_),
    "dropout": (_UNIFORM, _dropout),
}


def _is_random(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    name = getattr(function, "__name__", "")
    if name == "dropout":
        live = args[2] if len(args) > 2 else kwargs.get("training", kwargs.get("train", True))
        return bool(live)
    return name in _RANDOM


# -- watching, and feeding --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drawn:
    """One call of a random function."""

    function: str
    shape: tuple[Any, ...]  # numbers, or torch's symbols for them
    dtype: str
    line: str

    @property
    def range(self) -> InputRange:
        lo, hi = _RANDOM[self.function][0]
        return InputRange(lo, hi, why=f"is what {self.function} draws at {self.line}", noise=True)

    def spec(self, name: str, dims: Mapping[str, Dim]) -> TensorSpec:
        """`dims` says which dim a symbol of torch's is."""
        return TensorSpec(name, self.dtype, tuple(self._extent(size, dims) for size in self.shape))

    def _extent(self, size: Any, dims: Mapping[str, Dim]) -> Extent:
        if isinstance(size, int):
            return size
        if str(size) in dims:
            return dims[str(size)]
        raise CompileError(
            "random-model",
            "the model draws as many random numbers as no dim of its inputs says",
            where=self.line,
            why=f"{self.function} draws {'x'.join(map(str, self.shape))} numbers",
            hint="fix that size with --input, or make the noise an input of the model yourself",
        )


class Watch(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[Drawn] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if _is_random(func, args, kwargs or {}):
            line = current_user_line() or "an unknown place"
            self.drawn.append(Drawn(func.__name__, tuple(result.shape), torch_dtype_name(result.dtype), line))
        return result


class _Feeding(TorchFunctionMode):
    def __init__(self, noise: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self._noise = iter(noise)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if _is_random(func, args, kwargs or {}):
            return _RANDOM[func.__name__][1](next(self._noise), *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def sizes_of(exported: ExportedProgram, call: Call, specs: Iterable[TensorSpec]) -> dict[str, Dim]:
    """Which dim a symbol of torch's is."""
    values = {node.name: node.meta.get("val") for node in exported.graph.nodes if node.op == "placeholder"}
    nodes = dict(zip(call.leaves, exported.graph_signature.user_inputs, strict=True))
    return {
        str(size): dim
        for spec in specs
        for size, dim in zip(values[nodes[spec.name]].shape, spec.dims, strict=True)
        if isinstance(dim, Dim)
    }


def refuse_to_lift(what: str) -> CompileError:
    return CompileError(
        "random-model",
        f"what {what} draws cannot be made an input",
        why="its random functions are not called where they could be replaced",
        hint="give --lift-random the module itself (file.py:factory)",
    )


class Watched(torch.nn.Module):
    """A module whose draws are written down when it is called. Not by itself: torch.export puts back what a module
    holds."""

    def __init__(self, module: torch.nn.Module, watch: Watch) -> None:
        super().__init__()
        self.inner = module
        self._watch = watch

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self._watch.drawn.clear()
        with self._watch:
            return self.inner(*args, **kwargs)


class Lifted(torch.nn.Module):
    """A module that takes what it would draw from inputs of these names."""

    def __init__(self, module: torch.nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.inner = module
        self._names = names

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        noise = [kwargs.pop(name) for name in self._names]
        with _Feeding(noise):
            return self.inner(*args, **kwargs)
