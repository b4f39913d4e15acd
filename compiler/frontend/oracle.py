"""The yardstick: the same program with every float operation in float64.

`module.double()` is not enough, because models cast to float32 inside. A dispatch mode sees every operation
that PyTorch really runs and raises its operands, its dtype arguments and its results.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

_RAISED = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex32: torch.complex128,
    torch.complex64: torch.complex128,
}


class RaiseToFloat64(TorchDispatchMode):
    """Runs every operation in float64.

    `state` are the tensors that the program may write to in place (buffers and inputs): each gets one float64
    twin that lives as long as the mode, so that a write is seen by later reads. Weights are raised anew at every
    use, because a second copy of all of them may not fit into memory.
    """

    supports_higher_order_operators = True

    def __init__(self, state: Iterable[torch.Tensor] = ()) -> None:
        super().__init__()
        self._twins = {id(tensor): (tensor, _raise_tensor(tensor)) for tensor in state}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map(self._raised, args), tree_map(self._raised, kwargs or {})
        if func is torch.ops.higher_order.cond:
            return self._cond(*args)
        if func is torch.ops.higher_order.while_loop:
            return self._while_loop(*args)
        return tree_map(self._raised, func(*args, **kwargs))

    def _cond(self, chosen: Any, then: Any, otherwise: Any, operands: Any = ()) -> Any:
        # A mode is switched off while it handles an operation; the branch must run inside it.
        with self:
            return (then if bool(chosen) else otherwise)(*operands)

    def _while_loop(self, test: Any, body: Any, carried: Any, extra: Any = ()) -> Any:
        with self:
            while bool(test(*carried, *extra)):
                carried = body(*carried, *extra)
        return carried

    def _raised(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            known = self._twins.get(id(value))
            return known[1] if known else _raise_tensor(value)
        if isinstance(value, torch.dtype):
            return _RAISED.get(value, value)
        return value


def _raise_tensor(tensor: torch.Tensor) -> torch.Tensor:
    wide = _RAISED.get(tensor.dtype)
    return tensor if wide is None else tensor.to(wide)


@contextmanager
def float64_oracle(state: Iterable[torch.Tensor]) -> Iterator[None]:
    """Inside, PyTorch computes in float64 whatever the program says."""
    default, onednn = torch.get_default_dtype(), torch.backends.mkldnn.enabled
    torch.set_default_dtype(torch.float64)
    # oneDNN's fused recurrent kernels refuse float64; without it PyTorch takes the plain ones.
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    try:
        with torch.no_grad(), RaiseToFloat64(state):
            yield
    finally:
        torch.set_default_dtype(default)
        torch.backends.mkldnn.enabled = onednn
