"""A Relax expression, lowered by us and run here, for the tests of single kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tvm
from tvm import relax, tirx

from backends.tvm.explain import Explain
from backends.tvm.lower import pipeline
from backends.tvm.target import Machine, machine, of

Extent = int | str  # a name is an extent that is only known when it runs
Made = Callable[..., relax.Expr]  # (bb, *operands) -> the result
EPSILON = float(np.finfo(np.float32).eps)


class Lowered:
    """Compiled once; called at any sizes that its symbolic extents allow."""

    def __init__(self, make: Made, *shapes: Sequence[Extent], dtypes: Sequence[str] = (), cpu: Machine | None = None):
        self.machine = cpu or machine({"threads": 2})
        self.explain = Explain()
        self.module = pipeline.lower(module(make, *shapes, dtypes=dtypes), self.machine, self.explain)
        finished = pipeline.finish(self.module, of(self.machine))
        self.executable = tvm.compile(finished, of(self.machine), relax_pipeline=None)
        self._machine: Any = None

    def __call__(self, *arrays: np.ndarray) -> np.ndarray:
        if self._machine is None:
            self._machine = relax.VirtualMachine(self.executable, tvm.cpu())
        return self._machine["main"](*[tvm.runtime.tensor(np.ascontiguousarray(a)) for a in arrays]).numpy()

    @property
    def functions(self) -> dict[str, tirx.PrimFunc]:
        return {
            place.name_hint: function
            for place, function in self.module.functions_items()
            if isinstance(function, tirx.PrimFunc)
        }


def module(make: Made, *shapes: Sequence[Extent], dtypes: Sequence[str] = ()) -> tvm.IRModule:
    names: dict[str, tirx.Var] = {}
    operands = []
    for place, shape in enumerate(shapes):
        extents = [names.setdefault(n, tirx.Var(n, "int64")) if isinstance(n, str) else n for n in shape]
        dtype = dtypes[place] if dtypes else "float32"
        operands.append(relax.Var(f"x{place}", relax.TensorType(extents, dtype)))
    bb = relax.BlockBuilder()
    with bb.function("main", operands):
        with bb.dataflow():
            result = bb.emit_output(make(bb, *operands))
        bb.emit_func_output(result)
    return bb.get()


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape, dtype=np.float32)


def close(got: np.ndarray, want: np.ndarray, terms: int = 1, scale: float | None = None) -> None:
    """Within a few roundings of the true value; a sum of many terms may be off by as many more, on their scale."""
    assert got.shape == want.shape
    assert got.dtype == np.float32
    size = np.abs(want).max(initial=0.0) if scale is None else scale
    np.testing.assert_allclose(got, want, rtol=4 * EPSILON, atol=4 * EPSILON * max(size, 1e-30) * np.sqrt(terms))
