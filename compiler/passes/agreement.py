"""Whether two graphs compute the same, as far as the numbers of the first can tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from compiler.contracts import Arrays
from compiler.ir.evaluate import Evaluator

_CLOSE = 1e-5  # of the size of what is compared: folded weights are rounded to float32 again
_NOISE = 20  # how many times what rounding does to the first graph may stand between the two

Results = Mapping[str, Any]


class Judge:
    """What a graph computes on some data, and whether another still does.

    What float32 makes of the first graph, beside float64, says how much rounding can do to it.
    """

    def __init__(self, model: ir.Model, draws: list[Arrays]) -> None:
        self._draws = draws
        self._exact = _results(model, draws, precise=True)
        self._plain = _results(model, draws, precise=False)

    def difference(self, model: ir.Model) -> tuple[int, str] | None:
        """The first draw on which they differ, and where; None where they agree."""
        exact, plain = (_results(model, self._draws, precise=precise) for precise in (True, False))
        for place in range(len(self._draws)):
            for name, want in self._exact[place].items():
                noisy = self._plain[place][name]
                found = _difference(want, exact[place][name], noisy) or _form(noisy, plain[place][name])
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


def _difference(want: Any, have: Any, plain: Any) -> str | None:
    if isinstance(want, list):
        if len(want) != len(have):
            return f"a list of {len(have)} and not of {len(want)}"
        found = (_difference(*three) for three in zip(want, have, plain, strict=True))
        return next((words for words in found if words), None)
    if not isinstance(want, np.ndarray):
        return None if want is have else "there where nothing was, or the other way round"
    wrong = _form(want, have)
    if wrong is not None or want.size == 0:
        return wrong
    if want.dtype.kind == "V":  # the small floats of ml_dtypes
        want, have, plain = (array.astype(np.float64) for array in (want, have, plain))
    if want.dtype.kind not in "fc":
        return None if np.array_equal(want, have) else "made of other whole numbers"
    return _distance(want, have, plain)


def _distance(want: np.ndarray, have: np.ndarray, plain: np.ndarray) -> str | None:
    finite = np.isfinite(want)
    if not np.array_equal(np.isfinite(have), finite):
        return "finite in other places"
    if not finite.any():
        return None
    noise = np.abs(plain.astype(want.dtype)[finite] - want[finite])
    noise = noise[np.isfinite(noise)]
    worst = float(np.max(np.abs(have[finite] - want[finite])))
    allowed = _CLOSE * float(np.max(np.abs(want[finite]))) + _NOISE * float(np.max(noise, initial=0)) + 1e-12
    return None if worst <= allowed else f"off by {worst:.3g}, where {allowed:.3g} is allowed"
