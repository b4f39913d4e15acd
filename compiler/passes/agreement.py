"""Whether two graphs compute the same, as far as the numbers of the first can tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from compiler.contracts import Arrays
from compiler.ir.evaluate import Evaluator
from compiler.passes.rewriting import graphs

# Of the size of what is compared: folded weights are rounded again, to the narrowest type of the graph's own, and
# where several are folded into one another, more than once.
_CLOSE = 1e-5
_CLOSE_IN = {ir.DataType.FLOAT16: 8 * 2.0**-11, ir.DataType.BFLOAT16: 8 * 2.0**-8}
_NOISE = 20  # how many times what rounding does to the first graph may stand between the two

Results = Mapping[str, Any]


class Judge:
    """What a graph computes on some data, and whether another still does.

    What float32 makes of the first graph, beside float64, says how much rounding can do to it. All draws tell that
    together: one alone may be lucky.
    """

    def __init__(self, model: ir.Model, draws: list[Arrays]) -> None:
        self._draws = draws
        given = (value for graph in graphs(model) for value in (*graph.inputs, *graph.initializers.values()))
        self._close = max((_CLOSE_IN.get(value.dtype or ir.DataType.FLOAT, _CLOSE) for value in given), default=_CLOSE)
        self._exact = _results(model, draws, precise=True)
        self._plain = _results(model, draws, precise=False)
        noise = [{name: _noise(want[name], plain[name]) for name in want} for want, plain in self._pairs()]
        self._noise = {name: max(each[name] for each in noise) for name in (noise[0] if noise else ())}

    def _pairs(self) -> Iterable[tuple[Results, Results]]:
        return zip(self._exact, self._plain, strict=True)

    def difference(self, model: ir.Model) -> tuple[int, str] | None:
        """The first draw on which they differ, and where; None where they agree."""
        exact, plain = (_results(model, self._draws, precise=precise) for precise in (True, False))
        for place, (wants, plain_wants) in enumerate(self._pairs()):
            for name, want in wants.items():
                found = _difference(want, exact[place][name], self._noise[name], self._close)
                found = found or _form(plain_wants[name], plain[place][name])
                if found is not None:
                    return place, f"'{name}' is {found}"
        return None


def _results(model: ir.Model, draws: list[Arrays], *, precise: bool) -> list[Results]:
    evaluator = Evaluator(model, precise=precise)
    return [evaluator(inputs) for inputs in draws]


def _form(want: Any, have: Any) -> str | None:
    if not isinstance(want, np.ndarray):
        return None
    same = want.dtype == have.dtype and want.shape == have.shape
    return None if same else f"{have.dtype}{list(have.shape)} and not {want.dtype}{list(want.shape)}"


def _noise(want: Any, plain: Any) -> float:
    """The largest finite difference."""
    if isinstance(want, list):
        return max(map(_noise, want, plain), default=0.0)
    if not isinstance(want, np.ndarray) or want.dtype.kind not in "fcV":
        return 0.0
    wide = complex if want.dtype.kind == "c" else np.float64
    with np.errstate(invalid="ignore"):
        apart = np.abs(plain.astype(wide) - want.astype(wide))
    return float(np.max(apart[np.isfinite(apart)], initial=0))


def _difference(want: Any, have: Any, noise: float, close: float) -> str | None:
    if isinstance(want, list):
        if len(want) != len(have):
            return f"a list of {len(have)} and not of {len(want)}"
        found = (_difference(one, other, noise, close) for one, other in zip(want, have, strict=True))
        return next((words for words in found if words), None)
    if not isinstance(want, np.ndarray):
        return None if want is have else "there where nothing was, or the other way round"
    wrong = _form(want, have)
    if wrong is not None or want.size == 0:
        return wrong
    if want.dtype.kind == "V":  # the small floats of ml_dtypes
        want, have = (array.astype(np.float64) for array in (want, have))
    if want.dtype.kind not in "fc":
        return None if np.array_equal(want, have) else "made of other whole numbers"
    return _distance(want, have, noise, close)


def _distance(want: np.ndarray, have: np.ndarray, noise: float, close: float) -> str | None:
    finite = np.isfinite(want)
    if not np.array_equal(np.isfinite(have), finite):
        return "finite in other places"
    if not finite.any():
        return None
    worst = float(np.max(np.abs(have[finite] - want[finite])))
    allowed = close * float(np.max(np.abs(want[finite]))) + _NOISE * noise + 1e-12
    return None if worst <= allowed else f"off by {worst:.3g}, where {allowed:.3g} is allowed"
