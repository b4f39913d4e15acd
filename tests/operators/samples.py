"""torch's own samples of each operator (op_db), float32, each as a small module with its tensors as inputs."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch.utils import _pytree as pytree

EACH = 2  # samples of each operator, spread over the first LOOKED_AT
LOOKED_AT = 40

# Operators that are not counted, by the pattern of their names, with the reason.
NOT_COUNTED = {
    r"cauchy|exponential|geometric|log_normal|normal.*|uniform|rand.*|multinomial|bernoulli|nn\.functional\."
    r"((feature_)?(alpha_)?dropout.*|rrelu|fractional_max_pool.*)|(svd|pca)_lowrank": "random",
    r"(new_)?empty.*|resize(_as)?_": "what it gives is whatever lies in memory",
    r".*backward.*|.*\.grad(_oriented)?|.*subgradients_at_zero|_batch_norm_with_update": "for training",
    r"sparse\..*|to_sparse": "sparse tensors",
    r"jiterator_.*|bmm\.triton_optimized": "for CUDA only",
    r"linalg\.(eig.*|svd|qr|householder_product|lstsq|ldl.*|pinv\.singular)|svd|qr|geqrf|ormqr": "its answer is not "
    r"unique, or a step of an algorithm of linear algebra",
}


@functools.cache
def operators() -> dict[str, Any]:
    """Every operator of op_db that takes float32, under "name.variant"."""
    from torch.testing._internal.common_methods_invocations import op_db

    # Importing that forbids anyone to set flags of torch's backends any more; the oracle needs to.
    torch.backends.flags_frozen.__globals__["__allow_nonbracketed_mutation_flag"] = True
    return {
        ".".join(filter(None, (info.name, info.variant_test_name))): info
        for info in op_db
        if torch.float32 in info.supported_dtypes("cpu")
    }


def not_counted(name: str) -> str:
    """Why an operator is not counted; "" for those that are."""
    return next((why for pattern, why in NOT_COUNTED.items() if re.fullmatch(pattern, name)), "")


@dataclass(frozen=True)
class Skipped:
    """A sample that is no model."""

    why: str


class Sample(torch.nn.Module):
    """One operator at one sample's arguments: the tensors among them are inputs, the rest is fixed."""

    def __init__(self, operator: Callable[..., Any], sample: Any) -> None:
        super().__init__()
        leaves, self._tree = pytree.tree_flatten((sample.input, sample.args, sample.kwargs))
        self._operator = operator
        self._fixed = [None if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
        self._places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
        self.tensors = [leaf.detach() for leaf in leaves if isinstance(leaf, torch.Tensor)]

    def forward(self, *tensors: torch.Tensor) -> list[torch.Tensor]:
        leaves = list(self._fixed)
        for place, tensor in zip(self._places, tensors, strict=True):
            leaves[place] = tensor.clone()  # some operators write into their argument
        first, args, kwargs = pytree.tree_unflatten(leaves, self._tree)
        results = pytree.tree_leaves(self._operator(first, *args, **kwargs))
        return [result for result in results if isinstance(result, torch.Tensor)]


def samples(name: str) -> Iterator[Sample | Skipped]:
    """A few samples of an operator, as modules or with the reason why they are none."""
    info = operators()[name]
    torch.manual_seed(0)
    found = list(islice(info.sample_inputs("cpu", torch.float32, requires_grad=False), LOOKED_AT))
    step = max(len(found) // EACH, 1)
    for sample in found[::step][:EACH]:
        module = Sample(info.op, sample).eval()
        yield Skipped(why) if (why := _no_model(module)) else module


def _no_model(module: Sample) -> str:
    if not module.tensors:
        return "it takes no tensor"
    with torch.no_grad():
        results = module(*module.tensors)
    if not results:
        return "it gives no tensor"
    values = [*module.tensors, *results]
    if any(value.layout is not torch.strided for value in values):
        return "sparse tensors"
    if any(value.is_complex() for value in values):
        return "complex numbers as input or output"
    return ""
