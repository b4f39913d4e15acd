"""LSTM and GRU with a sequence length that stays dynamic.

The exporter translates `aten.lstm` and `aten.gru` as they are, into one operator. But to learn the shapes of their
results, torch.export runs them on fake tensors through a decomposition that loops over the time steps in Python,
and so fixes the sequence length. While tracing, that decomposition is replaced by one that knows only the shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch._C import DispatchKey
from torch._decomp import decomposition_table
from torch.export import ExportedProgram

_KEYS = (DispatchKey.CompositeImplicitAutograd, DispatchKey.Autograd)


def _sequence(input: torch.Tensor, state: torch.Tensor, bidirectional: bool) -> torch.Tensor:
    return input.new_empty(input.size(0), input.size(1), state.size(2) * (2 if bidirectional else 1))


def _lstm(
    input: torch.Tensor, hx: list[torch.Tensor], params: Any, has_biases: bool, num_layers: int, dropout: float,
    train: bool, bidirectional: bool, batch_first: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    return _sequence(input, hx[0], bidirectional), torch.empty_like(hx[0]), torch.empty_like(hx[1])


def _gru(
    input: torch.Tensor, hx: torch.Tensor, params: Any, has_biases: bool, num_layers: int, dropout: float,
    train: bool, bidirectional: bool, batch_first: bool,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    return _sequence(input, hx, bidirectional), torch.empty_like(hx)


_SHAPES = {torch.ops.aten.lstm.input: _lstm, torch.ops.aten.gru.input: _gru}


def decomposed(exported: ExportedProgram) -> ExportedProgram:
    """By torch's own decompositions, but for these."""
    table = torch.export.default_decompositions()
    for operator in _SHAPES:
        table.pop(operator, None)
    with dynamic_recurrence():
        return exported.run_decompositions(table)


@contextmanager
def dynamic_recurrence() -> Iterator[None]:
    """Inside, tracing an LSTM or GRU looks at shapes only."""
    with ExitStack() as stack:
        for operator, shapes in _SHAPES.items():
            stack.enter_context(mock.patch.dict(operator.py_kernels, dict.fromkeys(_KEYS, shapes)))
            # Fake tensors look here first once the exporter keeps the operator from being decomposed.
            stack.enter_context(mock.patch.dict(decomposition_table, {operator: shapes}))
            # What an operator dispatches to is remembered; it must be looked up anew on the way in and out.
            operator._dispatch_cache.clear()
            stack.callback(operator._dispatch_cache.clear)
        yield
