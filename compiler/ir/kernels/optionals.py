"""Optional values: what is absent is None, what is present is itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from compiler.contracts import Array
from compiler.ir.kernels.support import Call, Kernel


def _get(call: Call, value: Any) -> Any:
    if value is None:
        raise ValueError("the optional value is absent")
    return value


def _is_present(call: Call, value: Any = None) -> Array:
    return np.asarray(value is not None)


TABLE: dict[str, Kernel] = {
    "Optional": lambda call, value=None: value,
    "OptionalGetElement": _get,
    "OptionalHasElement": _is_present,
}
