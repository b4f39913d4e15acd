"""From our graph to a Relax module: walks the nodes in order and hands each to the function that knows its operator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from tvm import error as tvm_error
from tvm import ir as tvm_ir
from tvm import relax, sym, te, tirx

from backends.tvm.emit import known as shapes
from backends.tvm.emit.extents import Extent, equal, expression, settled
from backends.tvm.emit.known import Known
from backends.tvm.emit.op import Emit, Op, Result, unsupported
from compiler.contracts import Array, Dim, Signature, TensorSpec
from compiler.errors import CompileError
from compiler.ir.provenance import describe
from compiler.ir.text import dtype_text

MAIN = "main"


@dataclass(frozen=True)
class Emitted:
    """`steps` are the dims of which `main` takes the number of steps, in the order of its last but one argument."""

    module: tvm_ir.IRModule
    steps: tuple[str, ...]


@dataclass
class Entry:
    """What stands for a value: a tensor, or elements that are known while compiling, or both."""

    tensor: relax.Expr | None = None
    known: Known | None = None


class Emitter:
    """Builds one function after the other into one module."""

    def __init__(self, table: Mapping[str, Emit], opset: int) -> None:
        self.table = table
        self.opset = opset
        self.bb = relax.BlockBuilder()
        self.analyzer = sym.Analyzer()
        self.runtime_sizes: set[tirx.Var] = set()
        self._entries: dict[ir.Value, Entry] = {}
        self._constants: dict[ir.Value, Array] = {}

    # -- values -------------------------------------------------------------------------------------------------

    def bind(self, value: ir.Value, tensor: relax.Expr | None = None, known: Known | None = None) -> None:
        self._entries[value] = Entry(tensor, known)

    def tensor(self, value: ir.Value) -> relax.Expr:
        entry = self._entry(value)
        if entry.tensor is None:
            entry.tensor = self._materialised(value, entry)
        return entry.tensor

    def known(self, value: ir.Value) -> Known | None:
        entry = self._entry(value)
        if entry.known is None:
            constant = self.constant(value)
            if constant is not None and constant.dtype.kind in "iub" and constant.size <= shapes.LARGEST:
                entry.known = np.array([each.item() for each in constant.ravel()] or [], object).reshape(constant.shape)
        return entry.known

    def constant(self, value: ir.Value) -> Array | None:
        if value in self._constants:
            return self._constants[value]
        if value.const_value is not None and value.producer() is None:
            return value.const_value.numpy()
        entry = self._entry(value)
        if entry.known is not None and all(isinstance(each, int) for each in entry.known.flat):
            return entry.known.astype(_numpy_dtype(value))
        return None

    def extents(self, value: ir.Value) -> list[Extent] | None:
        entry = self._entry(value)
        if entry.known is not None:
            return list(entry.known.shape)
        tensor = self.tensor(value)
        if not isinstance(tensor.ty, relax.TensorType) or tensor.ty.shape is None:
            return None
        return [settled(extent, self.analyzer) for extent in tensor.ty.shape.values]

    def _entry(self, value: ir.Value) -> Entry:
        if value not in self._entries:
            # Only initializers are met before anybody bound them.
            self._entries[value] = Entry()
        return self._entries[value]

    def _materialised(self, value: ir.Value, entry: Entry) -> relax.Expr:
        constant = self.constant(value)
        if constant is not None:
            return relax.const(np.require(constant, requirements="C"), dtype_of(value))
        assert entry.known is not None, f"'{value.name}' is used before it is made"
        return self._written_out(entry.known, dtype_of(value))

    def _written_out(self, elements: Known, dtype: str) -> relax.Expr:
        """A tensor of expressions over the dims."""
        flat = [expression(each) for each in elements.ravel()]

        def compute(*values: Any) -> te.Tensor:
            def element(*index: Any) -> Any:
                place = index[0] if index else 0
                chosen = values[-1]
                for number in range(len(values) - 2, -1, -1):
                    chosen = tirx.Select(equal(place, number), values[number], chosen)
                return chosen.astype(dtype)

            return te.compute((len(values),), element, name="extents")

        tensor = self.bb.emit(self.bb.call_te(compute, *flat, primfunc_name_hint="extents"))
        shape = relax.ShapeExpr([tirx.IntImm("int64", size) for size in elements.shape])
        return tensor if elements.ndim == 1 else self.bb.emit(relax.op.reshape(tensor, shape))

    # -- graphs within the graph --------------------------------------------------------------------------------

    def entry(self, value: ir.Value) -> Entry:
        """What stands for a value, constants included."""
        self.known(value)
        constant = self.constant(value)
        if constant is not None and self._entry(value).tensor is None:
            return Entry(relax.const(np.require(constant, requirements="C"), dtype_of(value)), self.known(value))
        return self._entry(value)

    def tensor_of(self, entry: Entry) -> relax.Expr:
        assert entry.tensor is not None
        return entry.tensor

    def constant_of(self, entry: Entry) -> Array | None:
        if isinstance(entry.tensor, tvm_ir.GenericConst):
            value: Array = entry.tensor.value.numpy()
            return value
        return None

    def inline(self, graph: ir.Graph, inputs: Sequence[Any]) -> list[relax.Expr]:
        return [self.tensor_of(entry) for entry in self.inline_entries(graph, inputs)]

    def inline_entries(self, graph: ir.Graph, inputs: Sequence[Any]) -> list[Entry]:
        """Emit a subgraph here. An input is an entry, a tensor, or a Python number."""
        for value, given in zip(graph.inputs, inputs, strict=True):
            self._entries[value] = self._as_entry(given, value)
        for node in graph:
            for output in node.outputs:
                self._entries.pop(output, None)
                self._constants.pop(output, None)
        self.run(list(graph))
        made = []
        for value in graph.outputs:
            self.tensor(value)
            made.append(self.entry(value))
        return made

    def _as_entry(self, given: Any, value: ir.Value) -> Entry:
        if isinstance(given, Entry):
            return Entry(given.tensor, given.known)
        if isinstance(given, bool | int):
            return Entry(relax.const(np.asarray(given, _numpy_dtype(value)), dtype_of(value)), shapes.known(given))
        return Entry(given)

    def branch(self, graph: ir.Graph) -> relax.SeqExpr:
        """A subgraph as an expression of its own. What it makes, also of outer values, is not seen outside of it."""
        outer = self._entries
        self._entries = {value: Entry(entry.tensor, entry.known) for value, entry in outer.items()}
        self.bb.begin_scope(None)
        self.bb._begin_binding_block()
        results = self.bb.emit(relax.Tuple(self.inline(graph, [])))
        block = self.bb._end_block()
        self.bb.end_scope()
        self._entries = outer
        return relax.SeqExpr([block], results)

    @contextmanager
    def apart(self, given: Mapping[ir.Value, relax.Expr]) -> Iterator[None]:
        """For a function of its own, which sees what it is given, and what is known while compiling."""
        outer = self._entries
        self._entries = {value: Entry(known=entry.known) for value, entry in outer.items() if entry.known is not None}
        self._entries |= {value: Entry(tensor) for value, tensor in given.items()}
        yield
        self._entries = outer

    # -- nodes --------------------------------------------------------------------------------------------------

    def run(self, nodes: Sequence[ir.Node]) -> None:
        for node in nodes:
            op = Op(self, node)
            try:
                self._emit(op)
            except CompileError:
                raise
            except (tvm_error.InternalError, TypeError, ValueError, RuntimeError) as error:
                raise CompileError(
                    "runtime-refused",
                    "TVM does not take this operator as it is",
                    where=describe(node),
                    why=f"{node.op_type}: {_last_line(error)}",
                    hint="another --target may take it: `compile inspect MODEL --targets`",
                ) from error

    def _emit(self, op: Op) -> None:
        node = op.node
        if node.op_type == "Constant":
            self._constants[node.outputs[0]] = array = _constant_of(op)
            node.outputs[0].dtype = ir.DataType.from_numpy(array.dtype)
            return
        known = shapes.evaluate(op)
        if known is not None:
            self.bind(node.outputs[0], known=known)
            return
        emit = self.table.get(node.op_type) if not node.domain else None
        if emit is None:
            raise unsupported(node, "there is no kernel for it")
        for value, result in zip(node.outputs, _as_list(emit(op)), strict=False):
            if result is not None and value.name:
                self.bind(value, self._emitted(result, value))

    def _emitted(self, result: relax.Expr, value: ir.Value) -> relax.Expr:
        tensor = result if isinstance(result, relax.Var | tvm_ir.GenericConst) else self.bb.emit(result)
        made, wanted = str(tensor.ty.dtype), dtype_of(value) if value.dtype is not None else None
        assert wanted is None or made == wanted, f"'{value.name}' became {made}, not {wanted}"
        return tensor


def emit_model(
    model: ir.Model, signature: Signature, table: Mapping[str, Emit], bounds: Mapping[str, Dim] | None = None
) -> Emitted:
    """`main` takes the inputs in order, then the number of steps of each dim that has any; it gives a tuple."""
    emitter = Emitter(table, model.opset_imports.get("", 1))
    dims = _Dims(signature, emitter.analyzer)
    specs = {spec.name: spec for spec in signature.inputs}
    inputs = [value for value in model.graph.inputs if not value.is_initializer()]
    params: list[relax.Var] = []
    for value in inputs:
        param = relax.Var(_identifier(value.name, len(params)), dims.type_of(specs[value.name or ""]))
        emitter.bind(value, param)
        params.append(param)
    steps = dims.counts()
    if steps:
        params.append(relax.Var("steps", relax.ShapeType([dims.count(name) for name in steps])))
    attributes = {"num_input": len(params), **dims.bounds()}
    with emitter.bb.function(MAIN, params, attrs=attributes):
        emitter.run(list(model.graph))
        emitter.bb.emit_func_output(relax.Tuple([emitter.tensor(value) for value in model.graph.outputs]))
    module = emitter.bb.finalize()
    return Emitted(relax.transform.ConvertToDataflow(min_size=1)(module), steps)


class _Dims:
    """The named dims as TVM variables. A dim that moves in steps is a multiple of a variable of its own, so that TVM
    can prove what it needs: that (16k - 2) // 2 + 1 is 8k."""

    def __init__(self, signature: Signature, analyzer: sym.Analyzer) -> None:
        self._dims = signature.dims
        self._vars = {name: tirx.Var(_identifier(name, place), "int64") for place, name in enumerate(self._dims)}
        for name, dim in self._dims.items():
            low, high = dim.lo // dim.step, dim.hi // dim.step
            analyzer.bind(self._vars[name], tvm_ir.Range.from_min_extent(expression(low), expression(high - low + 1)))

    def counts(self) -> tuple[str, ...]:
        return tuple(name for name, dim in self._dims.items() if dim.step > 1)

    def count(self, name: str) -> tirx.Var:
        return self._vars[name]

    def type_of(self, spec: TensorSpec) -> relax.TensorType:
        return relax.TensorType([self._extent(dim) for dim in spec.dims], spec.dtype)

    def _extent(self, dim: Dim | int | str) -> Any:
        if isinstance(dim, Dim):
            return self._vars[dim.name] * dim.step if dim.step > 1 else self._vars[dim.name]
        assert isinstance(dim, int), "inputs have no dims that are expressions"
        return tirx.IntImm("int64", dim)

    def bounds(self) -> dict[str, Any]:
        """Lets TVM plan memory ahead."""
        if not self._dims:
            return {}
        return {
            "tir_var_upper_bound": {self._vars[name].name: dim.hi // dim.step for name, dim in self._dims.items()},
            "tir_var_lower_bound": {self._vars[name].name: dim.lo // dim.step for name, dim in self._dims.items()},
        }


def dtype_of(value: ir.Value) -> str:
    assert value.dtype is not None, f"'{value.name}' has no element type"
    return dtype_text(value.dtype)


def _numpy_dtype(value: ir.Value) -> Any:
    assert value.dtype is not None
    return value.dtype.numpy()


def _identifier(name: str | None, place: int) -> str:
    return name if name and name.isidentifier() else f"arg{place}"


def _as_list(result: Result) -> list[Any]:
    return list(result) if isinstance(result, list | tuple) else [result]


def _constant_of(op: Op) -> Array:
    attribute = next(iter(op.node.attributes.values()), None)
    if attribute is None:
        op.refuse("it has no value")
    if attribute.type is ir.AttributeType.TENSOR:
        return attribute.as_tensor().numpy()
    floats = attribute.type in (ir.AttributeType.FLOAT, ir.AttributeType.FLOATS)
    return np.asarray(attribute.value, np.float32 if floats else np.int64)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
