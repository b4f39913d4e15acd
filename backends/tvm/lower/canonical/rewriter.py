"""Rewriting Relax, call by call, with a look at what the operands were made by."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

# Until nothing moves any more; chains are walked in one go, so this is seldom more than two.
_MOST_ROUNDS = 8


class Rewriter(PyExprMutator):  # type: ignore[misc]
    """Derived classes are decorated with `mutator` and say what becomes of a call; None keeps it."""

    changed = False

    def rewrite(self, call: relax.Call) -> relax.Expr | None:
        raise NotImplementedError

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = super().visit_call_(call)
        if not isinstance(call, relax.Call):
            return call
        made = self.rewrite(call)
        if made is None:
            return call
        self.changed = True
        return made

    def source(self, expr: relax.Expr) -> relax.Expr:
        """What a variable stands for."""
        while isinstance(expr, relax.Var):
            bound = self.lookup_binding(expr)
            if bound is None:
                break
            expr = bound
        return expr

    def emit(self, expr: relax.Expr) -> relax.Var:
        return self.builder_.emit(expr)


def settle(mod: tvm.IRModule, kind: Any) -> tvm.IRModule:
    """Applies one kind of rewriter to every function until it changes nothing."""
    for _ in range(_MOST_ROUNDS):
        changed = False
        for place, function in mod.functions_items():
            if not isinstance(function, relax.Function):
                continue
            rewriter = kind(mod)
            body = rewriter.visit_expr(function)
            if rewriter.changed:
                rewriter.builder_.update_func(place, body)
                mod = rewriter.builder_.get()
                changed = True
        if not changed:
            break
        mod = relax.transform.CanonicalizeBindings()(mod)
        mod = relax.transform.DeadCodeElimination()(mod)
    return mod


__all__ = ["Rewriter", "mutator", "settle"]
