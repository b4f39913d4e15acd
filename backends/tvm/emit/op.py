"""One node while it is emitted: its inputs as Relax expressions, its attributes, and what is known of their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import onnx_ir as ir
from tvm import ir as tvm_ir
from tvm import relax, sym, tirx

from backends.tvm.emit.extents import Extent, expression, settled
from backends.tvm.emit.known import Known
from compiler.contracts import Array
from compiler.errors import CompileError
from compiler.ir.opsets import default_attributes, schema_at
from compiler.ir.provenance import describe
from compiler.ir.text import dtype_text

if TYPE_CHECKING:
    from backends.tvm.emit.emitter import Emitter

_OPAQUE = 8  # in the scale by which TVM tells what may be fused: nothing

Result = Any  # a relax.Expr, or a list of them with None for outputs that nobody asked for


def unsupported(node: ir.Node, why: str) -> CompileError:
    return CompileError(
        "unsupported-op",
        "tvm cannot build this model",
        where=describe(node),
        why=f"{node.op_type}: {why}",
        hint="another --target may take it: `compile inspect MODEL --targets`",
    )


class Op:
    def __init__(self, emitter: Emitter, node: ir.Node) -> None:
        self.emitter = emitter
        self.node = node
        self.type = node.op_type
        self.bb: relax.BlockBuilder = emitter.bb
        self.analyzer: sym.Analyzer = emitter.analyzer
        schema = schema_at(node, emitter.opset)
        self._defaults = default_attributes(schema) if schema is not None else {}
        self.version = schema.since_version if schema is not None else 1

    # -- inputs -------------------------------------------------------------------------------------------------

    def has(self, place: int) -> bool:
        return place < len(self.node.inputs) and self.node.inputs[place] is not None

    def value(self, place: int) -> ir.Value:
        found = self.node.inputs[place]
        assert found is not None
        return found

    def x(self, place: int = 0) -> relax.Expr:
        """The input as a tensor."""
        return self.emitter.tensor(self.value(place))

    def tensors(self) -> list[relax.Expr]:
        return [self.x(place) for place in range(len(self.node.inputs))]

    def dtype(self, place: int = 0) -> str:
        dtype = self.value(place).dtype
        return dtype_text(dtype) if dtype is not None else str(self.x(place).ty.dtype)

    def extents(self, place: int = 0) -> list[Extent] | None:
        """The shape of an input, or None where not even its rank is known."""
        return self.emitter.extents(self.value(place))

    def shape(self, place: int = 0) -> list[Extent]:
        found = self.extents(place)
        if found is None:
            self.refuse("the shape of an input depends on data")
        return found

    def rank(self, place: int = 0) -> int:
        return len(self.shape(place))

    def known(self, place: int) -> Known | None:
        """The elements of a small integer input, where they are known; they may be expressions."""
        return self.emitter.known(self.value(place)) if self.has(place) else None

    def constant(self, place: int) -> Array | None:
        """The input's value, where it is a constant."""
        return self.emitter.constant(self.value(place)) if self.has(place) else None

    # -- attributes ---------------------------------------------------------------------------------------------

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute's value, the schema's default, or the given one; tensors as numpy arrays, text as str."""
        attribute = self.node.attributes.get(name) or self._defaults.get(name)
        if attribute is None:
            return default
        if attribute.type is ir.AttributeType.TENSOR:
            return attribute.as_tensor().numpy()
        value = attribute.value
        return list(value) if isinstance(value, tuple | list) else value

    def integers(self, name: str, place: int) -> list[int] | None:
        """What older opsets give as an attribute and newer ones as an input; None where it is left out."""
        if name in self.node.attributes:
            return [int(value) for value in self.attr(name)]
        if not self.has(place):
            return None
        values = self.constant(place)
        if values is None:
            self.refuse(f"its {name} are only known at run time")
        return [int(value) for value in values.ravel()]

    def axis(self, name: str = "axis", default: int = 0, rank: int | None = None) -> int:
        """An axis attribute, counted from the front."""
        axis = int(self.attr(name, default))
        return axis + (self.rank() if rank is None else rank) if axis < 0 else axis

    # -- outputs ------------------------------------------------------------------------------------------------

    def wants(self, place: int) -> bool:
        return place < len(self.node.outputs) and bool(self.node.outputs[place].name)

    def output_dtype(self, place: int = 0) -> str:
        dtype = self.node.outputs[place].dtype
        return dtype_text(dtype) if dtype is not None else self.dtype(0)

    def emit(self, expr: relax.Expr) -> relax.Var:
        return self.bb.emit(expr)

    def te(self, compute: Callable[..., Any], *args: Any, name: str | None = None, **kwargs: Any) -> relax.Var:
        """Emit a kernel written in TE; Relax expressions among the arguments become TE tensors."""
        hint = name or self.type.lower()
        if any(map(self._is_runtime_size, args)):
            # FuseTIR loses sizes that no tensor among the arguments tells.
            kwargs["primfunc_attrs"] = {"op_pattern": _OPAQUE}
        return self.bb.emit(self.bb.call_te(compute, *args, primfunc_name_hint=hint, **kwargs))

    def _is_runtime_size(self, argument: Any) -> bool:
        if isinstance(argument, list):
            return any(map(self._is_runtime_size, argument))
        if not self.emitter.runtime_sizes or not tvm_ir.is_prim_expr(argument):
            return False
        return any(var in self.emitter.runtime_sizes for var in tirx.analysis.undefined_vars(tirx.Evaluate(argument)))

    def const(self, value: Any, dtype: str) -> tvm_ir.GenericConst:
        return relax.const(np.asarray(value, dtype), dtype)

    def reshape(self, x: relax.Expr, shape: Sequence[Extent]) -> relax.Expr:
        if len(x.ty.shape.values) == len(shape) and all(
            self.same(one, other) for one, other in zip(x.ty.shape.values, shape, strict=True)
        ):
            return x
        if any(isinstance(extent, int) and extent == 0 for extent in shape):
            # Nothing to keep; and a 0 in the shape that Relax reshapes to means a size of the old one.
            return self.emit(relax.op.zeros(relax.ShapeExpr([expression(extent) for extent in shape]), x.ty.dtype))
        return self.emit(relax.op.reshape(x, relax.ShapeExpr([expression(extent) for extent in shape])))

    def settled(self, extent: Extent) -> Extent:
        return settled(extent, self.analyzer)

    def same(self, one: Extent, other: Extent) -> bool:
        from backends.tvm.emit.extents import same

        return same(self.settled(one), self.settled(other), self.analyzer)

    def refusal(self, why: str) -> CompileError:
        return unsupported(self.node, why)

    def refuse(self, why: str) -> NoReturn:
        raise self.refusal(why)


Emit = Callable[[Op], Result]
