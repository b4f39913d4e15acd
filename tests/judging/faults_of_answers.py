"""Faults of a runtime's bookkeeping: the graph is right, and what is handed out is not."""

from __future__ import annotations

import random

import numpy as np
from faults import AnswerFault, Answers, NoPlaceError, outputs_of, places

from compiler.contracts import Array


def _some(answers: Answers, rng: random.Random) -> tuple[dict[str, Array], str]:
    place, name = rng.choice([(place, name) for place, name in outputs_of(answers) if answers[place][name].size])
    return answers[place], name


def _some_floats(answers: Answers, rng: random.Random) -> tuple[dict[str, Array], str]:
    arrays, name = _some(answers, rng)
    if arrays[name].dtype.kind != "f":
        raise NoPlaceError
    arrays[name] = arrays[name].copy()
    return arrays, name


def _missing(answers: Answers, rng: random.Random) -> None:
    arrays, name = _some(answers, rng)
    del arrays[name]


def _reordered(answers: Answers, rng: random.Random) -> None:
    """Each output under another's name, as where names are matched by position."""
    names = list(answers[0])
    if len(names) < 2:
        raise NoPlaceError
    for arrays in answers:
        values = list(arrays.values())
        arrays.update(zip(names, [*values[1:], values[0]], strict=True))


def _not_a_number(answers: Answers, rng: random.Random) -> None:
    arrays, name = _some_floats(answers, rng)
    arrays[name][places(arrays[name], rng)] = np.nan


def _infinite(answers: Answers, rng: random.Random) -> None:
    arrays, name = _some_floats(answers, rng)
    arrays[name][places(arrays[name], rng)] = rng.choice((np.inf, -np.inf))


def _all_nan(answers: Answers, rng: random.Random) -> None:
    arrays, name = _some_floats(answers, rng)
    arrays[name][...] = np.nan


def _zeros(answers: Answers, rng: random.Random) -> None:
    """A buffer that nobody wrote to."""
    arrays, name = _some_floats(answers, rng)
    arrays[name][...] = 0


def _stale(answers: Answers, rng: random.Random) -> None:
    """The answer of the case before, as far as it reaches."""
    if len(answers) < 2:
        raise NoPlaceError
    place = rng.randrange(1, len(answers))
    name = rng.choice(list(answers[place]))
    old, new = answers[place - 1][name], answers[place][name].copy()
    common = tuple(slice(0, min(a, b)) for a, b in zip(old.shape, new.shape, strict=True))
    new[common] = old[common]
    answers[place][name] = new


def _rows_exchanged(answers: Answers, rng: random.Random) -> None:
    arrays, name = _some(answers, rng)
    array = arrays[name]
    if array.ndim < 2 or array.shape[0] < 2:
        raise NoPlaceError
    one, other = rng.sample(range(array.shape[0]), 2)
    arrays[name] = array.copy()
    arrays[name][[one, other]] = array[[other, one]]


def _one_element(answers: Answers, rng: random.Random) -> None:
    arrays, name = _some_floats(answers, rng)
    arrays[name][places(arrays[name], rng)] *= 1 + 10 ** rng.uniform(-6, -1)


def _half(answers: Answers, rng: random.Random) -> None:
    for arrays in answers:
        for name, array in arrays.items():
            if array.dtype == np.float32:
                with np.errstate(over="ignore"):
                    arrays[name] = array.astype(np.float16).astype(np.float32)


def _other_type(answers: Answers, rng: random.Random) -> None:
    arrays, name = _some_floats(answers, rng)
    arrays[name] = arrays[name].astype(np.float64)


def _other_shape(answers: Answers, rng: random.Random) -> None:
    arrays, name = _some(answers, rng)
    arrays[name] = arrays[name][None]


FAULTS = [
    AnswerFault("an output missing", _missing),
    AnswerFault("outputs reordered", _reordered),
    AnswerFault("NaN in one element", _not_a_number),
    AnswerFault("infinity in one element", _infinite),
    AnswerFault("NaN everywhere", _all_nan),
    AnswerFault("zeros everywhere", _zeros),
    AnswerFault("the case before", _stale),
    AnswerFault("two rows of an output exchanged", _rows_exchanged),
    AnswerFault("one element that is scaled", _one_element),
    AnswerFault("an output in float16", _half),
    AnswerFault("an output of another type", _other_type),
    AnswerFault("an output of another shape", _other_shape),
]
