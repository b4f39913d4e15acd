"""The judge of graphs: an interpreter that computes a model node by node, without PyTorch and without a runtime.

In its precise mode every float is float64, whatever the graph says. High-level operators are computed as they stand,
because the function bodies that define them cast to float32 inside.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import onnx
import onnx_ir as ir

from compiler.contracts import Array, Arrays
from compiler.errors import CompileError, InternalError
from compiler.ir.bodies import Copier, call_attributes, schema_bodies
from compiler.ir.control import control_runner
from compiler.ir.index_arithmetic import index_arithmetic
from compiler.ir.opsets import default_attributes, schema_at
from compiler.ir.precision import Precision
from compiler.ir.program import Program, Runner, Weights
from compiler.ir.provenance import describe
from compiler.ir.reference_ops import reference_runner

Opsets = Mapping[str, int]


class Look(Protocol):
    @property
    def operators(self) -> Container[str]:
        """The operators of ONNX that it wants to see."""
        ...

    def __call__(self, node: ir.Node, inputs: Sequence[Any], results: Sequence[Any]) -> Sequence[Any]: ...


class Evaluator:
    """A model, prepared once. `precise` raises every float16, bfloat16 and float32 to float64.

    `look` sees what some operators give, and may give something else.
    """

    def __init__(self, model: ir.Model, *, precise: bool, look: Look | None = None) -> None:
        self._precision = Precision(precise)
        self._inputs = [value for value in model.graph.inputs if not value.is_initializer()]
        self._outputs = [value.name or "" for value in model.graph.outputs]
        self._defaults = [value for value in model.graph.inputs if value.is_initializer()]
        builder = _Builder(model.functions, self._precision, look)
        nodes, outputs = model.graph, model.graph.outputs
        self._program = builder.program([*self._inputs, *self._defaults], nodes, outputs, model.opset_imports)
        self._weights = builder.weights

    def __call__(self, inputs: Arrays) -> dict[str, Array]:
        known = {value.name for value in (*self._inputs, *self._defaults)}
        for name in inputs.keys() - known:
            raise InternalError("evaluator-input", f"the graph has no input '{name}'")
        arguments = [self._argument(value, inputs) for value in self._inputs]
        arguments.extend(
            self._argument(value, inputs) if value.name in inputs else self._weights[value] for value in self._defaults
        )
        with np.errstate(all="ignore"):
            results = self._program(arguments, {})
        # Copies, because a result may be an input, a weight, or a view of either.
        return {name: _owned(result) for name, result in zip(self._outputs, results, strict=True)}

    def _argument(self, value: ir.Value, inputs: Arrays) -> Any:
        name = value.name or ""
        if name not in inputs:
            raise InternalError("evaluator-input", f"the input '{name}' is missing")
        given: Any = inputs[name]
        argument = self._precision.raised(np.asarray(given) if isinstance(given, np.generic) else given)
        if isinstance(argument, np.ndarray) and value.dtype not in (None, ir.DataType.STRING):
            _check_input(value, argument, self._precision.data_type(value.dtype))
        return argument


def _owned(value: Any) -> Any:
    return [_owned(element) for element in value] if isinstance(value, list) else np.array(value)


def _check_input(value: ir.Value, array: Array, dtype: ir.DataType) -> None:
    if array.dtype != dtype.numpy():
        raise InternalError("evaluator-input", f"the input '{value.name}' is {array.dtype}, not {dtype.numpy()}")
    dims = value.shape if value.shape is not None else array.shape
    fits = len(dims) == array.ndim and all(
        not isinstance(dim, int) or dim == size for dim, size in zip(dims, array.shape, strict=True)
    )
    if not fits:
        raise InternalError("evaluator-input", f"the input '{value.name}' has shape {array.shape}, not {dims}")


class _Builder:
    """Chooses for each node what computes it."""

    def __init__(
        self, functions: Mapping[ir.OperatorIdentifier, ir.Function], precision: Precision, look: Look | None = None
    ) -> None:
        from compiler.ir.kernels import KERNELS  # imports torch

        self._kernels = KERNELS
        self._functions = functions
        self._precision = precision
        self._look = look
        self._as_written = _Builder(functions, Precision(False)) if precision.precise else None
        self.weights = Weights(precision)

    def program(
        self,
        inputs: Iterable[ir.Value | None],
        nodes: Iterable[ir.Node],
        outputs: Iterable[ir.Value | None],
        opsets: Opsets,
    ) -> Program:
        order = list(nodes)
        runners = [(node, self.runner(node, opsets)) for node in order]
        if self._as_written is not None:
            kept = index_arithmetic(order)
            runners = [
                (node, _AsWritten(node, self._as_written.runner(node, opsets)) if node in kept else runner)
                for node, runner in runners
            ]
        if self._look is not None:
            seen = self._look.operators
            runners = [
                (node, _Looked(node, runner, self._look) if node.domain == "" and node.op_type in seen else runner)
                for node, runner in runners
            ]
        return Program(inputs, runners, outputs, self.weights)

    def runner(self, node: ir.Node, opsets: Opsets) -> Runner:
        function = self._functions.get(node.op_identifier())
        if function is not None:
            return self.body(node, function, call_attributes(node, None), opsets)
        control = control_runner(
            node, lambda graph: self.program(graph.inputs, graph, graph.outputs, opsets), self._precision
        )
        if control is not None:
            return control
        schema = schema_at(node, opsets.get(node.domain, 0))
        if schema is None:
            raise _unsupported(node, "there is no definition of this operator")
        if node.domain == "" and node.op_type == "Constant" and "sparse_value" not in node.attributes:
            return _ConstantRunner(node, self._precision)
        if node.domain == "" and node.op_type in self._kernels:
            return _KernelRunner(self._kernels[node.op_type], node, schema, self._precision)
        runner = reference_runner(node, opsets, self._precision)
        if runner is not None:
            return runner
        bodies: Any = schema
        if bodies.has_function or bodies.has_context_dependent_function:
            return _SchemaRunner(self, node, schema, opsets)
        raise _unsupported(node, "the evaluator does not know this operator, and ONNX defines it through no others")

    def body(
        self, node: ir.Node, function: ir.Function, attributes: Mapping[str, ir.Attr], opsets: Opsets
    ) -> _BodyRunner:
        """The runner of a function body at one call, on stand-ins for the call's inputs."""
        stand_ins = [None if value is None else ir.Value(name=value.name) for value in node.inputs]
        copier = Copier(function, stand_ins, attributes, lambda name: name)
        nodes = list(copier.nodes())
        # Some bodies of the standard leave out the domain that their operators are in.
        imports = {**opsets, **function.opset_imports}
        return _BodyRunner(self.program(stand_ins, nodes, copier.outputs(), imports))


def _unsupported(node: ir.Node, why: str) -> CompileError:
    domain = node.domain or "ai.onnx"
    return CompileError(
        "unsupported-op",
        f"the evaluator cannot compute {domain}::{node.op_type}",
        where=describe(node),
        why=why,
        hint="a model that does without it",
    )


class _Looked:
    def __init__(self, node: ir.Node, runner: Runner, look: Look) -> None:
        self.captured = runner.captured
        self._node = node
        self._runner = runner
        self._look = look

    def __call__(self, inputs: Sequence[Any], environment: Mapping[ir.Value, Any]) -> Sequence[Any]:
        return self._look(self._node, inputs, self._runner(inputs, environment))


class _AsWritten:
    """Runs a node in the types that the graph gives it, in the midst of an evaluation in float64."""

    captured: tuple[ir.Value, ...] = ()

    def __init__(self, node: ir.Node, runner: Runner) -> None:
        self._runner = runner
        self._types = [None if value is None or value.dtype is None else value.dtype.numpy() for value in node.inputs]

    def __call__(self, inputs: Sequence[Any], environment: Mapping[ir.Value, Any]) -> Sequence[Any]:
        return self._runner(list(map(_lowered, inputs, self._types)), environment)


def _lowered(value: Any, dtype: np.dtype[Any] | None) -> Any:
    raised = isinstance(value, np.ndarray) and value.dtype == np.float64
    return value.astype(dtype) if raised and dtype is not None else value


class _BodyRunner:
    captured: tuple[ir.Value, ...] = ()

    def __init__(self, program: Program) -> None:
        self._program = program

    def __call__(self, inputs: Sequence[Any], environment: Mapping[ir.Value, Any]) -> Sequence[Any]:
        return self._program(inputs, {})


class _ConstantRunner:
    captured: tuple[ir.Value, ...] = ()

    def __init__(self, node: ir.Node, precision: Precision) -> None:
        (attr,) = node.attributes.values()
        self._load = _constant(attr, precision)

    def __call__(self, inputs: Sequence[Any], environment: Mapping[ir.Value, Any]) -> Sequence[Any]:
        return [self._load()]


def _constant(attr: ir.Attr, precision: Precision) -> Callable[[], Array]:
    if attr.type is ir.AttributeType.TENSOR:
        tensor = attr.as_tensor()
        return lambda: precision.load(tensor)
    kinds: dict[ir.AttributeType, Any] = {
        ir.AttributeType.FLOAT: np.float32,
        ir.AttributeType.FLOATS: np.float32,
        ir.AttributeType.INT: np.int64,
        ir.AttributeType.INTS: np.int64,
    }
    array = precision.raised(np.asarray(attr.value, kinds.get(attr.type)))
    return lambda: array


class _KernelRunner:
    captured: tuple[ir.Value, ...] = ()

    def __init__(
        self, kernel: Callable[..., Any], node: ir.Node, schema: onnx.defs.OpSchema, precision: Precision
    ) -> None:
        from compiler.ir.kernels import Call

        attributes = {**default_attributes(schema), **node.attributes}
        values = {name: _attribute_value(attr, precision) for name, attr in attributes.items()}
        outputs = max((place for place, value in enumerate(node.outputs, 1) if value.name), default=1)
        self._kernel = kernel
        self._call = Call(node.op_type, schema.since_version, values, outputs, precision.element_type)

    def __call__(self, inputs: Sequence[Any], environment: Mapping[ir.Value, Any]) -> Sequence[Any]:
        result = self._kernel(self._call, *inputs)
        return result if isinstance(result, tuple) else (result,)


def _attribute_value(attr: ir.Attr, precision: Precision) -> Any:
    # A float attribute is a float32 in the file, also while it still sits in memory as a Python float.
    if attr.type is ir.AttributeType.FLOAT:
        return float(np.float32(attr.as_float()))
    if attr.type is ir.AttributeType.FLOATS:
        return tuple(float(np.float32(value)) for value in attr.as_floats())
    return precision.load(attr.as_tensor()) if attr.type is ir.AttributeType.TENSOR else attr.value


class _SchemaRunner:
    """Runs the body that ONNX defines an operator with. It can depend on the types of the inputs."""

    captured: tuple[ir.Value, ...] = ()

    def __init__(self, builder: _Builder, node: ir.Node, schema: onnx.defs.OpSchema, opsets: Opsets) -> None:
        self._builder = builder
        self._node = node
        self._schema = schema
        self._opsets = opsets
        self._prepared: tuple[object, _BodyRunner] | None = None

    def __call__(self, inputs: Sequence[Any], environment: Mapping[ir.Value, Any]) -> Sequence[Any]:
        key = tuple(None if value is None else (value.dtype, value.shape) for value in inputs)
        if self._prepared is None or self._prepared[0] != key:
            self._prepared = key, self._prepare(inputs)
        return self._prepared[1](inputs, environment)

    def _prepare(self, inputs: Sequence[Any]) -> _BodyRunner:
        typed = [None if value is None else _typed(place, value) for place, value in enumerate(inputs)]
        call = ir.Node(
            self._node.domain,
            self._node.op_type,
            typed,
            list(self._node.attributes.values()),
            outputs=[ir.Value(name=value.name) for value in self._node.outputs],
        )
        bodies = list(schema_bodies(call, self._schema))
        fitting = [body for body in bodies if body.opset_imports.get("", 0) <= self._opsets.get("", 0)]
        for body in fitting or bodies:
            return self._builder.body(call, body, call_attributes(call, self._schema), self._opsets)
        raise _unsupported(self._node, "ONNX gives no body for these inputs")


def _typed(place: int, array: Array) -> ir.Value:
    dtype = ir.DataType.from_numpy(array.dtype)
    return ir.Value(name=f"input_{place}", type=ir.TensorType(dtype), shape=ir.Shape(array.shape))
