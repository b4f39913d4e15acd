"""The element types that an evaluation computes in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array

_RAISED = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})

# Attributes that hold an element type.
TYPE_ATTRIBUTES = frozenset(
    {"to", "dtype", "output_dtype", "output_datatype", "precision", "stash_type", "softmax_precision"}
)


@dataclass(frozen=True)
class Precision:
    """`precise` raises every float16, bfloat16 and float32 to float64."""

    precise: bool

    def data_type(self, dtype: ir.DataType) -> ir.DataType:
        return ir.DataType.DOUBLE if self.precise and dtype in _RAISED else dtype

    def element_type(self, dtype: int) -> np.dtype[Any]:
        return self.data_type(ir.DataType(dtype)).numpy()

    def raised(self, value: Any) -> Any:
        """A value of the graph, which may also be a sequence or absent, in the precision of this evaluation."""
        if isinstance(value, list):
            return [self.raised(element) for element in value]
        if not self.precise or not isinstance(value, np.ndarray):
            return value
        return value.astype(np.float64) if _is_raised(value.dtype) else value

    def load(self, tensor: ir.TensorProtocol) -> Array:
        array: Array = self.raised(tensor.numpy())
        return array


def _is_raised(dtype: np.dtype[Any]) -> bool:
    return dtype.name in ("float16", "bfloat16", "float32")
