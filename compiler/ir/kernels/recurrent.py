"""LSTM, GRU and RNN: every direction, lengths of their own for each sequence, initial states, peepholes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from compiler.contracts import Array
from compiler.ir.kernels.support import Call, Kernel, Tensor, rounded, to_numpy, to_torch

Activation = Callable[[Tensor], Tensor]
State = tuple[Tensor, ...]

# The defaults of an activation's parameters; None where it has no such parameter.
_PARAMETERS: dict[str, tuple[float | None, float | None]] = {
    "affine": (1.0, 0.0),
    "elu": (1.0, None),
    "hardsigmoid": (0.2, 0.5),
    "leakyrelu": (0.01, None),
    "scaledtanh": (1.0, 1.0),
    "thresholdedrelu": (1.0, None),
}
_ACTIVATIONS: dict[str, Callable[[Tensor, float, float], Tensor]] = {
    "affine": lambda x, alpha, beta: alpha * x + beta,
    "elu": lambda x, alpha, beta: torch.where(x < 0, alpha * torch.expm1(x), x),
    "hardsigmoid": lambda x, alpha, beta: torch.clamp(alpha * x + beta, 0, 1),
    "leakyrelu": lambda x, alpha, beta: torch.where(x < 0, alpha * x, x),
    "relu": lambda x, alpha, beta: torch.relu(x),
    "scaledtanh": lambda x, alpha, beta: alpha * torch.tanh(beta * x),
    "sigmoid": lambda x, alpha, beta: torch.sigmoid(x),
    "softplus": lambda x, alpha, beta: torch.logaddexp(x, torch.zeros_like(x)),
    "softsign": lambda x, alpha, beta: x / (1 + x.abs()),
    "tanh": lambda x, alpha, beta: torch.tanh(x),
    "thresholdedrelu": lambda x, alpha, beta: torch.where(x > alpha, x, torch.zeros_like(x)),
}


def _activations(call: Call, default: Sequence[str], directions: int) -> list[list[Activation]]:
    """For each direction its activations, with the clipping that precedes each of them."""
    given = call.get("activations") or list(default) * directions
    names = [name.lower() for name in given[: len(default) * directions]]  # RNN's default lists both directions
    alphas, betas = iter(call.get("activation_alpha") or ()), iter(call.get("activation_beta") or ())
    made = [_activation(name, alphas, betas, call.get("clip")) for name in names]
    return [made[place : place + len(default)] for place in range(0, len(made), len(default))]


def _activation(name: str, alphas: Iterator[float], betas: Iterator[float], clip: float | None) -> Activation:
    default_alpha, default_beta = _PARAMETERS.get(name, (None, None))
    alpha = 0.0 if default_alpha is None else next(alphas, default_alpha)
    beta = 0.0 if default_beta is None else next(betas, default_beta)
    function = _ACTIVATIONS[name]
    return lambda x: function(x if clip is None else torch.clamp(x, -clip, clip), alpha, beta)


@dataclass(frozen=True)
class _Cell:
    """One direction's weights. `x` holds the input's share of the gates for all steps at once."""

    x: Tensor
    recurrent: Tensor
    recurrent_bias: Tensor
    peephole: Tensor
    activations: list[Activation]
    hidden: int
    dtype: np.dtype[Any]

    def gate(self, tensor: Tensor, place: int) -> Tensor:
        return tensor[..., place * self.hidden : (place + 1) * self.hidden]


def _lstm_step(call: Call, cell: _Cell, step: int, state: State) -> State:
    h, c = state
    f, g, out = cell.activations
    gates = cell.x[step] + h @ cell.recurrent.T + cell.recurrent_bias
    i_gate, o_gate, f_gate, c_gate = (cell.gate(gates, place) for place in range(4))
    p_i, p_o, p_f = (cell.gate(cell.peephole, place) for place in range(3))
    remember = f(i_gate + p_i * c)
    forget = 1 - remember if call.get("input_forget", 0) else f(f_gate + p_f * c)
    c = forget * c + remember * g(c_gate)
    return f(o_gate + p_o * c) * out(c), c


def _gru_step(call: Call, cell: _Cell, step: int, state: State) -> State:
    (h,) = state
    f, g = cell.activations
    from_input, from_state = cell.x[step], h @ cell.recurrent.T + cell.recurrent_bias
    update = f(cell.gate(from_input, 0) + cell.gate(from_state, 0))
    reset = f(cell.gate(from_input, 1) + cell.gate(from_state, 1))
    if call.get("linear_before_reset", 0):
        candidate = reset * cell.gate(from_state, 2)
    else:
        weight, bias = cell.recurrent[2 * cell.hidden :], cell.gate(cell.recurrent_bias, 2)
        candidate = (reset * h) @ weight.T + bias
    fresh = g(cell.gate(from_input, 2) + candidate)
    return ((1 - update) * fresh + update * h,)


def _rnn_step(call: Call, cell: _Cell, step: int, state: State) -> State:
    (h,) = state
    return (cell.activations[0](cell.x[step] + h @ cell.recurrent.T + cell.recurrent_bias),)


Step = Callable[[Call, _Cell, int, State], State]


def _run(call: Call, step_of: Step, cell: _Cell, lengths: Tensor, state: State, backward: bool) -> tuple[Tensor, State]:
    """All steps of one direction. A sequence that has ended keeps its state, and its outputs are zero."""
    steps = range(cell.x.shape[0])
    outputs = [torch.zeros_like(state[0])] * len(steps)
    for step in reversed(steps) if backward else steps:
        alive = (step < lengths)[:, None]
        new = (rounded(fresh, cell.dtype) for fresh in step_of(call, cell, step, state))
        state = tuple(torch.where(alive, fresh, old) for fresh, old in zip(new, state, strict=True))
        outputs[step] = torch.where(alive, state[0], torch.zeros_like(state[0]))
    return (torch.stack(outputs) if outputs else state[0].new_zeros((0, *state[0].shape))), state


def _cell(
    sequence: Tensor,
    gates: int,
    weights: tuple[Array, Array, Array | None, Array | None],
    activations: list[Activation],
) -> _Cell:
    w, r, bias, peephole = weights
    recurrent = to_torch(r)
    hidden = recurrent.shape[1]
    both = torch.zeros(2 * gates * hidden, dtype=sequence.dtype) if bias is None else to_torch(bias)
    holes = torch.zeros(3 * hidden, dtype=sequence.dtype) if peephole is None else to_torch(peephole)
    x = sequence @ to_torch(w).T + both[: gates * hidden]
    return _Cell(x, recurrent, both[gates * hidden :], holes, activations, hidden, w.dtype)


def _recurrent(gates: int, states: int, default: Sequence[str], step_of: Step) -> Kernel:
    def kernel(
        call: Call,
        x: Array,
        w: Array,
        r: Array,
        bias: Array | None = None,
        sequence_lens: Array | None = None,
        *more: Array | None,
    ) -> tuple[Array, ...]:
        batch_first = bool(call.get("layout", 0))
        sequence = to_torch(x.swapaxes(0, 1) if batch_first else x)
        steps, batch, _ = sequence.shape
        lengths = torch.full((batch,), steps)
        if sequence_lens is not None:
            lengths = torch.from_numpy(sequence_lens.astype(np.int64))
        given = [*more, *[None] * 3]
        initial, peephole = given[:states], given[states] if gates == 4 else None
        runs = []
        for place, activations in enumerate(_activations(call, default, r.shape[0])):
            weights = (w[place], r[place], _at(bias, place), _at(peephole, place))
            cell = _cell(sequence, gates, weights, activations)
            state = tuple(_initial(array, place, sequence, cell.hidden, batch_first) for array in initial)
            backward = call["direction"] == "reverse" or place == 1
            runs.append(_run(call, step_of, cell, lengths, state, backward))
        y = torch.stack([outputs for outputs, _ in runs], dim=1)
        ends = [torch.stack([final[place] for _, final in runs]) for place in range(states)]
        if batch_first:
            y, ends = y.permute(2, 0, 1, 3), [end.transpose(0, 1) for end in ends]
        return tuple(to_numpy(tensor, x.dtype) for tensor in (y, *ends))

    return kernel


def _at(array: Array | None, place: int) -> Any:
    return None if array is None else array[place]


def _initial(array: Array | None, place: int, sequence: Tensor, hidden: int, batch_first: bool) -> Tensor:
    if array is None:
        return sequence.new_zeros((sequence.shape[1], hidden))
    return to_torch(array[:, place] if batch_first else array[place])


TABLE: dict[str, Kernel] = {
    "GRU": _recurrent(3, 1, ("Sigmoid", "Tanh"), _gru_step),
    "LSTM": _recurrent(4, 2, ("Sigmoid", "Tanh", "Tanh"), _lstm_step),
    "RNN": _recurrent(1, 1, ("Tanh",), _rnn_step),
}
