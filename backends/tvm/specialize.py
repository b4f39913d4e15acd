"""A model for some sizes alone, beside the one for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from compiler.contracts import Dim, Signature, TensorSpec


@dataclass(frozen=True)
class Special:
    """When the library for some sizes is called, and with what; dims that are not among the sizes may be any."""

    sizes: Mapping[str, int]
    steps: list[str]  # dims of which it takes the number of steps
    weights: int  # how many it takes

    def fits(self, sizes: Mapping[str, int]) -> bool:
        return all(sizes[name] == size for name, size in self.sizes.items())


def fixed(signature: Signature, sizes: Mapping[str, int]) -> Signature:
    """The signature with numbers in place of these dims. Outputs follow from the graph."""
    return replace(signature, inputs=tuple(_fixed(spec, sizes) for spec in signature.inputs))


def _fixed(spec: TensorSpec, sizes: Mapping[str, int]) -> TensorSpec:
    return replace(spec, dims=tuple(sizes.get(d.name, d) if isinstance(d, Dim) else d for d in spec.dims))
