"""Whether two graphs compute the same, as far as the numbers of the first can tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from compiler.contracts import Arrays
from compiler.ir.evaluate import Evaluator

_CLOSE = 1e-5  # of the size of what is compared: folded weights are rounded to float32 again


def difference(before: ir.Model, after: ir.Model, inputs: Arrays) -> str | None:
    """Where they differ; None where they agree.

    What float32 makes of the first graph, beside float64, says how much rounding can do to it.
    """
    exact, plain = Evaluator(before, precise=True)(inputs), Evaluator(before, precise=False)(inputs)
    have, have_plain = Evaluator(after, precise=True)(inputs), Evaluator(after, precise=False)(inputs)
    for name, want in exact.items():
        found = _difference(want, have[name], plain[name]) or _form(plain[name], have_plain[name])
        if found is not None:
            return f"{name}: {found}"
    return None


def _form(want: Any, have: Any) -> str | None:
    if not isinstance(want, np.ndarray):
        return None
    same = want.dtype == have.dtype and want.shape == have.shape
    return None if same else f"{want.dtype}{list(want.shape)} became {have.dtype}{list(have.shape)}"


def _difference(want: Any, have: Any, plain: Any) -> str | None:
    if not isinstance(want, np.ndarray):
        pairs = zip(want, have, plain, strict=True) if isinstance(want, list) else ()
        return next((found for one, two, three in pairs if (found := _difference(one, two, three))), None)
    if want.shape != have.shape or want.dtype != have.dtype:
        return _form(want, have)
    if want.dtype.kind not in "fc" or want.size == 0:
        return None if want.dtype.kind in "fc" or np.array_equal(want, have) else "other whole numbers"
    finite = np.isfinite(want)
    if not np.array_equal(np.isfinite(have), finite):
        return "not finite in other places"
    noise = np.abs(np.where(finite, plain.astype(want.dtype) - want, 0))
    noise = float(np.nanmax(np.where(np.isfinite(noise), noise, 0)))
    scale = float(np.max(np.abs(want[finite]), initial=0))
    worst = float(np.max(np.abs(np.where(finite, have - want, 0))))
    allowed = _CLOSE * scale + 20 * noise + 1e-12
    return None if worst <= allowed else f"off by {worst:.3g}, where {allowed:.3g} is allowed"
