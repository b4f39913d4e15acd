"""What a kernel needs while a Relax call is replaced by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tvm import relax

from backends.tvm.explain import Explain
from backends.tvm.target import Machine

# TVM's numbers for how a function may be fused: into what reads its result; elementwise operations that follow are
# drawn into it; not at all.
INJECTIVE = 2
MAY_GROW = 4
OPAQUE = 8


class DeclinedError(Exception):
    """This kernel cannot take the call; the message says why."""


@dataclass
class Lowering:
    machine: Machine
    explain: Explain
    bb: relax.BlockBuilder | None = None  # of the function that is being rewritten
    _made: dict[Any, Any] = field(default_factory=dict)

    def constant(self, array: np.ndarray[Any, Any]) -> relax.Expr:
        return relax.const(array, str(array.dtype))

    def packed(self, key: tuple[Any, ...], make: Callable[[], np.ndarray[Any, Any]]) -> relax.Expr:
        """A weight in another order; made, and stored, once for all who want it in that order."""
        return self.once(key, lambda: self.constant(make()))

    def once(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def call(
        self, compute: Callable[..., Any], *operands: relax.Expr, name: str, pattern: int | None = MAY_GROW
    ) -> relax.Expr:
        """A call of a new kernel. Without a pattern, TVM finds out itself how the kernel may be fused."""
        attributes = None if pattern is None else {"op_pattern": pattern}
        return self.emitter.call_te(compute, *operands, primfunc_name_hint=name, primfunc_attrs=attributes)

    @property
    def emitter(self) -> relax.BlockBuilder:
        assert self.bb is not None
        return self.bb


def call_in_words(call: relax.Call) -> str:
    operands = ", ".join(str(operand.ty) for operand in call.args)
    return f"{call.op.name.removeprefix('relax.')}({operands})"


Kernel = Callable[[Lowering, relax.Call], relax.Expr]
