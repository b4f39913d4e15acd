"""The yardstick: the same program with every float operation in float64.

`module.double()` is not enough, because models cast to float32 inside. So two of PyTorch's modes are used: one
sees what the program calls and raises its operands before PyTorch checks that their types agree, the other sees
what PyTorch really runs and raises dtype arguments and results as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from compiler.frontend.script_parts import script_parts

_RAISED = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex32: torch.complex128,
    torch.complex64: torch.complex128,
}


class _Raiser:
    """Raises values to float64.

    `state` are the tensors that the program may write to in place (buffers and inputs): each gets one float64
    twin that lives as long as the oracle, so that a write is seen by later reads. Weights are raised anew at every
    use, because a second copy of all of them may not fit into memory.
    """

    def __init__(self, state: Iterable[torch.Tensor]) -> None:
        self._twins = {id(tensor): (tensor, _raise_tensor(tensor)) for tensor in state}

    def __call__(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            known = self._twins.get(id(value))
            return known[1] if known else _raise_tensor(value)
        if isinstance(value, torch.dtype):
            return _RAISED.get(value, value)
        return value


def _raise_tensor(tensor: torch.Tensor) -> torch.Tensor:
    wide = _RAISED.get(tensor.dtype)
    return tensor if wide is None else tensor.to(wide)


class _RaiseCalls(TorchFunctionMode):
    """What the program calls. Several operators compare their operands' types before anything is dispatched."""

    def __init__(self, raised: _Raiser) -> None:
        super().__init__()
        self._raised = raised

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func == torch.Tensor.dtype.__get__:  # type: ignore[attr-defined]
            return self._raised(func(*args))
        if getattr(func, "__name__", "") == "__get__":
            return func(*args)  # shapes and the like: no reason to convert a weight
        return func(*tree_map(self._raised, args), **tree_map(self._raised, kwargs or {}))


Look = Callable[[Any, Any, Any, Any], Any]  # an operator, its arguments and its result: what is taken for its result


class _Operations(TorchDispatchMode):
    """What PyTorch runs: raised, looked at, or both."""

    supports_higher_order_operators = True

    def __init__(self, raised: _Raiser | None, look: Look | None) -> None:
        super().__init__()
        self._raised = raised
        self._look = look

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._raised is not None:
            args, kwargs = tree_map(self._raised, args), tree_map(self._raised, kwargs)
        if func is torch.ops.higher_order.cond:
            return self._cond(*args)
        if func is torch.ops.higher_order.while_loop:
            return self._while_loop(*args)
        result = func(*args, **kwargs)
        if self._raised is not None:
            result = tree_map(self._raised, result)
        return result if self._look is None else self._look(func, args, kwargs, result)

    def _cond(self, chosen: Any, then: Any, otherwise: Any, operands: Any = ()) -> Any:
        # A mode is switched off while it handles an operation; the branch must run inside it.
        with self:
            return (then if bool(chosen) else otherwise)(*operands)

    def _while_loop(self, test: Any, body: Any, carried: Any, extra: Any = ()) -> Any:
        with self:
            while bool(test(*carried, *extra)):
                carried = body(*carried, *extra)
        return carried


@contextmanager
def looked_at(look: Look) -> Iterator[None]:
    """Inside, PyTorch computes as it does, and `look` sees each operator."""
    with torch.no_grad(), torch.compiler.set_stance("force_eager"), _Operations(None, look):
        yield


@contextmanager
def float64_oracle(module: torch.nn.Module, inputs: Iterable[torch.Tensor], look: Look | None = None) -> Iterator[None]:
    """Inside, PyTorch computes in float64 whatever the program says; `look` sees what it computes."""
    raised = _Raiser([*inputs, *module.buffers()])
    default, onednn = torch.get_default_dtype(), torch.backends.mkldnn.enabled
    torch.set_default_dtype(torch.float64)
    # oneDNN's fused recurrent kernels refuse float64; without it PyTorch takes the plain ones.
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    # torch.cond and while_loop compile themselves, which cannot be inside a mode: dynamo would skip their code from
    # then on, and the next export in this process fails.
    eagerly = torch.compiler.set_stance("force_eager")
    try:
        with torch.no_grad(), eagerly, _script_weights(module), _Operations(raised, look), _RaiseCalls(raised):
            yield
    finally:
        torch.set_default_dtype(default)
        torch.backends.mkldnn.enabled = onednn


@contextmanager
def _script_weights(module: torch.nn.Module) -> Iterator[None]:
    """TorchScript makes its calls where no mode sees them, so its weights are raised for as long as it runs."""
    weights = [weight for script in script_parts(module).values() for weight in script.parameters()]
    kept = [weight.data for weight in weights]
    try:
        for weight in weights:
            weight.data = _raise_tensor(weight.data)
        yield
    finally:
        for weight, data in zip(weights, kept, strict=True):
            weight.data = data
