"""A PyTorch module, ExportedProgram or ScriptModule as a Program: named flat inputs in, named flat outputs out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch.export import Dim as TorchDim
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import ConstraintViolationError
from torch.utils import _pytree as pytree

from compiler.contracts import Array, Arrays, Dim, Extent, Source, TensorSpec
from compiler.errors import CompileError, UsageError, did_you_mean
from compiler.frontend import graph_ranges, onnx_export
from compiler.frontend.arrays import to_numpy, to_torch, torch_dtype_name
from compiler.frontend.naming import named_leaves, nest, output_leaves, tensor_outputs
from compiler.frontend.oracle import float64_oracle
from compiler.frontend.program import InputRange, Parameter
from compiler.frontend.recurrent import dynamic_recurrence
from compiler.frontend.specialization import specialized, watch_shapes
from compiler.frontend.user_code import first_lines, user_code
from compiler.quiet import quiet

if TYPE_CHECKING:
    import onnx_ir as ir


_EXPORT_HINT = "--input can name other inputs or fix a dim; --debug shows torch's whole report"


@dataclass(frozen=True)
class _Constant:
    """A Python scalar that is part of the call but no tensor input."""

    value: Any


@dataclass(frozen=True)
class _Call:
    """How flat named tensors become (args, kwargs): a pytree whose leaves are names or constants."""

    leaves: tuple[str | _Constant, ...]
    tree: pytree.TreeSpec

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Call:
        leaves, tree = pytree.tree_flatten((args, kwargs))
        return cls(tuple(leaves), tree)

    def bind(self, values: Mapping[str, Any], constant: Callable[[Any], Any] = lambda value: value) -> Any:
        leaves = [values[leaf] if isinstance(leaf, str) else constant(leaf.value) for leaf in self.leaves]
        return pytree.tree_unflatten(leaves, self.tree)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(leaf for leaf in self.leaves if isinstance(leaf, str))


class TorchProgram:
    """Every format that ends in PyTorch. What differs is only how an ExportedProgram is had from it."""

    def __init__(
        self,
        source: Source,
        module: torch.nn.Module | None = None,
        *,
        exported: ExportedProgram | None = None,
        specs: tuple[TensorSpec, ...] = (),
        suggest: Callable[[], tuple[TensorSpec, ...]] | None = None,
        examples: Arrays | None = None,
    ) -> None:
        if exported is not None:
            _refuse_training(exported)
        self._source = source
        self._exported = exported
        self._given = exported  # what came from outside, as opposed to what `trace` made
        self._module: torch.nn.Module = (
            exported.module(check_guards=False) if exported is not None else _evaluated(module)
        )
        self._call = _call_of(exported) if exported is not None else None
        self._specs = specs
        self._suggest = suggest
        self._examples = dict(examples or {})
        self._traced: tuple[TensorSpec, ...] = ()

    # -- what it takes ------------------------------------------------------------------------------------------

    @property
    def source(self) -> Source:
        return self._source

    def parameters(self) -> tuple[Parameter, ...]:
        if self._given is not None:
            return tuple(Parameter(str(spec), required=True) for spec in _exported_specs(self._given))
        if isinstance(self._module, torch.jit.ScriptModule):
            arguments = script_arguments(self._module)
            return tuple(
                Parameter(argument.name, not argument.has_default_value(), str(argument.type)) for argument in arguments
            )
        return tuple(
            Parameter(name, _is_required(parameter), _annotation(parameter))
            for name, parameter in inspect.signature(self._module.forward).parameters.items()
            if parameter.kind is not parameter.VAR_KEYWORD
        )

    def declared(self) -> tuple[TensorSpec, ...]:
        return _exported_specs(self._given) if self._given is not None else self._specs

    def suggested(self) -> tuple[TensorSpec, ...]:
        return self._suggest() if self._suggest is not None else ()

    def examples(self) -> Arrays:
        if self._given is None:
            return self._examples
        sample = self._given.example_inputs
        if sample is None:
            return {}
        leaves, _ = pytree.tree_flatten(sample)
        assert self._call is not None
        named = zip(self._call.leaves, leaves, strict=True)
        return {name: to_numpy(leaf) for name, leaf in named if isinstance(name, str)}

    # -- tracing ------------------------------------------------------------------------------------------------

    def trace(self, specs: tuple[TensorSpec, ...], example: Arrays, constants: Mapping[str, Any]) -> None:
        self._traced = specs
        if self._given is not None:
            self._hold_to_declared(specs, constants)
            return
        # A mixture of experts as one batched product: grouped products are neither exported nor known in float64.
        _choose(self._module, "set_experts_implementation", "batched_mm")
        self._call = self._arrange([spec.name for spec in specs], constants)
        tensors = {name: to_torch(array) for name, array in example.items()}
        if isinstance(self._module, torch.jit.ScriptModule):
            self._trace_script(specs, tensors)
        else:
            self._exported = self._export(self._module, self._call, specs, tensors)
            self._source = replace(self._source, route="torch.export")
        if self._exported is not None:
            _refuse_training(self._exported)

    def _hold_to_declared(self, specs: tuple[TensorSpec, ...], constants: Mapping[str, Any]) -> None:
        if constants:
            raise UsageError(
                "fixed-program",
                f"an exported program has its scalars fixed: {', '.join(constants)}",
                hint="export it again with the value you want",
            )
        for want, have in zip(specs, self.declared(), strict=True):
            if want.dtype != have.dtype or len(want.dims) != len(have.dims):
                raise UsageError("input-mismatch", f"'{want}' does not fit the exported program's '{have}'")
            for asked, allowed in zip(want.dims, have.dims, strict=True):
                if not _within(asked, allowed):
                    raise UsageError(
                        "input-mismatch",
                        f"'{want}' asks for more than the exported program allows: '{have}'",
                        hint="leave --input away to use the program's own ranges, or export it again",
                    )
        self._source = replace(self._source, route="ExportedProgram")

    def _arrange(self, names: list[str], constants: Mapping[str, Any]) -> _Call:
        tree = nest([*names, *constants])
        # A None stands for a place in a tuple that was left out.
        fixed: dict[Any, Any] = {None: None, **constants}
        wrapped = pytree.tree_map(lambda leaf: _Constant(fixed[leaf]) if leaf in fixed else leaf, tree)
        if isinstance(self._module, torch.jit.ScriptModule):
            return self._arrange_script(wrapped)
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        signature = inspect.signature(self._module.forward).parameters
        open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.values())
        _check_names(wrapped, list(signature), self.parameters(), open_ended=open_ended)
        for name, parameter in signature.items():
            if name not in wrapped:
                continue
            if parameter.kind is parameter.VAR_POSITIONAL:
                args.extend(wrapped[name])
            elif parameter.kind is parameter.POSITIONAL_ONLY:
                args.append(wrapped[name])
            else:
                kwargs[name] = wrapped[name]
        kwargs |= {name: value for name, value in wrapped.items() if name not in signature}
        return _Call.of(tuple(args), kwargs)

    def _arrange_script(self, wrapped: Mapping[str, Any]) -> _Call:
        """All by position; what is left out before the last one is at its default."""
        arguments = script_arguments(self._module)
        _check_names(wrapped, [argument.name for argument in arguments], self.parameters(), open_ended=False)
        count = max((place for place, argument in enumerate(arguments, 1) if argument.name in wrapped), default=0)
        defaults = {argument.name: _Constant(argument.default_value) for argument in arguments[:count]}
        return _Call.of(tuple((defaults | dict(wrapped)).values()), {})

    def _export(
        self,
        module: torch.nn.Module,
        call: _Call,
        specs: tuple[TensorSpec, ...],
        tensors: Mapping[str, torch.Tensor],
    ) -> ExportedProgram:
        shapes = _dynamic_shapes(specs)
        args, kwargs = call.bind(tensors)
        dynamic_args, dynamic_kwargs = call.bind(shapes, constant=lambda _: None)
        dynamic: Any = {**dict(zip(_positional(module, dynamic_args), dynamic_args, strict=False)), **dynamic_kwargs}
        if dynamic_args and not kwargs:
            dynamic = dynamic_args
        dynamic_shapes = dynamic if any(shapes.values()) else None
        failure = user_code("capture-failed", "torch.export cannot capture this model", hint=_EXPORT_HINT)
        with torch.no_grad(), failure, quiet(), dynamic_recurrence(), watch_shapes() as watch:
            try:
                return torch.export.export(module, args, kwargs, dynamic_shapes=dynamic_shapes, strict=False)
            except (torch._dynamo.exc.UserError, ConstraintViolationError) as error:
                if "Constraints violated" in str(error):
                    raise specialized(error, watch) from error
                raise

    def _trace_script(self, specs: tuple[TensorSpec, ...], tensors: Mapping[str, torch.Tensor]) -> None:
        """Through the ExportedProgram converter where it can; loops and the like go to the TorchScript exporter."""
        from torch._export.converter import TS2EPConverter

        assert self._call is not None and isinstance(self._module, torch.jit.ScriptModule)
        args, _ = self._call.bind(tensors)
        try:
            with torch.no_grad(), quiet():
                converted = TS2EPConverter(self._module, args).convert()
                # The converter decides by itself which dims are dynamic; what was asked for is decided here.
                converted = self._export(converted.module(check_guards=False), self._call, specs, tensors)
        except (
            RuntimeError,
            ValueError,
            KeyError,
            AttributeError,
            TypeError,
            NotImplementedError,
            CompileError,
        ) as error:
            reason = error.why if isinstance(error, CompileError) and error.why else first_lines(error)
            facts = {**self._source.facts, "not through torch.export": reason}
            self._source = replace(self._source, route="TorchScript exporter", facts=facts)
            return
        self._exported = converted
        self._source = replace(self._source, route="TorchScript to torch.export")

    # -- using it -----------------------------------------------------------------------------------------------

    def ranges(self) -> Mapping[str, InputRange]:
        if self._exported is None or self._call is None:
            return {}
        placeholders = dict(zip(self._exported.graph_signature.user_inputs, self._call.leaves, strict=True))
        names = {node: leaf for node, leaf in placeholders.items() if isinstance(node, str) and isinstance(leaf, str)}
        return graph_ranges.of_exported(self._exported, names, self._traced)

    def run(self, inputs: Arrays, *, precise: bool) -> dict[str, Array]:
        assert self._call is not None, "trace comes first"
        tensors = {name: to_torch(inputs[name]) for name in self._call.names}
        with torch.no_grad(), user_code("model-raised", "the model itself fails on these inputs"):
            if precise:
                with float64_oracle(self._module, tensors.values()):
                    outputs = tensor_outputs(self._run(tensors))
            else:
                outputs = tensor_outputs(self._run(tensors))
        return {name: to_numpy(tensor) for name, tensor in outputs.items()}

    def _run(self, tensors: Mapping[str, torch.Tensor]) -> Any:
        assert self._call is not None
        args, kwargs = self._call.bind(tensors)
        return self._module(*args, **kwargs)

    def capture(self, opset: int) -> ir.Model:
        assert self._call is not None, "trace comes first"
        if self._exported is None:
            tensors = {name: to_torch(array) for name, array in self._examples_for_script().items()}
            args, _ = self._call.bind(tensors)
            with torch.no_grad():
                outputs = list(tensor_outputs(self._module(*args)))
            model = onnx_export.from_script(self._module, args, self._call.names, outputs, self._traced)
        else:
            outputs = _output_names(self._exported)
            # A clone, because the exporter leaves uses behind by nodes that it has dropped.
            model = onnx_export.from_exported(self._exported, opset, retry=self._with_eager_attention).clone()
            onnx_export.name_inputs(model, self._call.names)
            onnx_export.name_outputs(model, outputs)
        onnx_export.name_dims(model, self._traced)
        return model

    def _examples_for_script(self) -> dict[str, Array]:
        from compiler.frontend.examples import example_inputs

        return example_inputs(self._traced)

    def _with_eager_attention(self) -> ExportedProgram | None:
        """Some fused attention cannot be exported; models that offer plain attention get a second chance."""
        if self._call is None or not _choose(self._module, "set_attn_implementation", "eager"):
            return None
        tensors = {name: to_torch(array) for name, array in self._examples_for_script().items()}
        self._exported = self._export(self._module, self._call, self._traced, tensors)
        self._source = replace(self._source, route="torch.export, eager attention")
        return self._exported


# -- helpers ----------------------------------------------------------------------------------------------------


def _evaluated(module: torch.nn.Module | None) -> torch.nn.Module:
    assert module is not None
    return module.eval()


def script_arguments(module: Any) -> list[Any]:
    """What a ScriptModule's forward takes, without itself."""
    return list(module.forward.schema.arguments[1:])


def _choose(module: Any, setting: str, kernel: str) -> bool:
    """transformers' models let one choose between implementations of the same mathematics."""
    if not hasattr(module, setting):
        return False
    try:
        getattr(module, setting)(kernel)
    except (ValueError, AttributeError):
        return False  # this model has no such kernel
    return True


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL


def _annotation(parameter: inspect.Parameter) -> str:
    if parameter.annotation is parameter.empty:
        return ""
    text = parameter.annotation  # already text where annotations are postponed
    return (text if isinstance(text, str) else inspect.formatannotation(text)).replace("torch.", "")


def _positional(module: torch.nn.Module, args: tuple[Any, ...]) -> list[str]:
    return list(inspect.signature(module.forward).parameters)[: len(args)]


def _check_names(given: Mapping[str, Any], known: list[str], takes: tuple[Parameter, ...], *, open_ended: bool) -> None:
    for name in given:
        if name not in known and not open_ended:
            raise UsageError(
                "unknown-input",
                f"the model takes no input '{name}'",
                why=f"it takes {', '.join(map(str, takes))}",
                hint=did_you_mean(name, known),
            )
    if missing := [parameter for parameter in takes if parameter.required and parameter.name not in given]:
        raise UsageError(
            "input-mismatch",
            f"the input '{missing[0].name}' is missing",
            why=f"the model takes {', '.join(map(str, takes))}",
            hint=f"add --input '{missing[0].name}:DTYPE[DIMS]'",
        )


def _dynamic_shapes(specs: tuple[TensorSpec, ...]) -> dict[str, Any]:
    dims: dict[str, Any] = {}

    def torch_dim(dim: Dim) -> Any:
        if dim.name not in dims:
            if dim.step == 1:
                dims[dim.name] = TorchDim(dim.name, min=dim.lo, max=dim.hi)
            else:
                dims[dim.name] = dim.step * TorchDim(f"_{dim.name}", min=dim.lo // dim.step, max=dim.hi // dim.step)
        return dims[dim.name]

    return {
        spec.name: {axis: torch_dim(dim) for axis, dim in enumerate(spec.dims) if isinstance(dim, Dim)} or None
        for spec in specs
    }


def _call_of(exported: ExportedProgram) -> _Call:
    """Names of an ExportedProgram's flat inputs: the argument's path where it has one, else its node's name."""
    nodes = exported.graph_signature.user_inputs
    tree = exported.call_spec.in_spec
    assert tree is not None
    paths = dict.fromkeys(range(len(nodes)), "")
    _, kwargs = pytree.tree_unflatten(list(range(len(nodes))), tree)
    paths |= {index: path for path, index in named_leaves(kwargs)}
    leaves = [(paths[index] or node) if isinstance(node, str) else _Constant(node) for index, node in enumerate(nodes)]
    return _Call(tuple(leaves), tree)


def _exported_specs(exported: ExportedProgram) -> tuple[TensorSpec, ...]:
    call = _call_of(exported)
    placeholders = {node.name: node.meta["val"] for node in exported.graph.nodes if node.op == "placeholder"}
    symbols: dict[str, str] = {}
    specs = []
    for name, node in zip(call.leaves, exported.graph_signature.user_inputs, strict=True):
        if not isinstance(name, str):
            continue
        value = placeholders[node]
        dims = tuple(_extent(size, exported, symbols) for size in value.shape)
        specs.append(TensorSpec(name, torch_dtype_name(value.dtype), dims))
    return tuple(specs)


def _extent(size: Any, exported: ExportedProgram, symbols: dict[str, str]) -> Extent:
    if isinstance(size, int):
        return size
    expression = size.node.expr
    bounds = exported.range_constraints.get(expression)
    name = symbols.setdefault(str(expression), f"dim{len(symbols)}")
    step = int(expression.as_coeff_Mul()[0])
    lo, hi = (int(bounds.lower), _finite(bounds.upper)) if bounds is not None else (2, _UNBOUNDED)
    return Dim(name, lo, max(hi // step * step, lo), step)


# A program exported without an upper bound still has to be checked at some upper end.
_UNBOUNDED = 64


def _finite(bound: Any) -> int:
    try:
        value = int(bound)
    except (OverflowError, TypeError, ValueError):
        return _UNBOUNDED
    return value if value < 2**20 else _UNBOUNDED


def _within(asked: Extent | str, allowed: Extent | str) -> bool:
    if isinstance(allowed, Dim):
        return (asked.lo in allowed and asked.hi in allowed) if isinstance(asked, Dim) else asked in allowed  # type: ignore[operator]
    return asked == allowed


def _output_names(exported: ExportedProgram) -> list[str]:
    """A name per flat output that is a tensor; constants are not returned by the graph."""
    nodes = exported.graph_signature.user_outputs
    tree = exported.call_spec.out_spec
    assert tree is not None
    names = {index: name for name, index in output_leaves(pytree.tree_unflatten(list(range(len(nodes))), tree))}
    return [names[index] for index, node in enumerate(nodes) if isinstance(node, str)]


def _refuse_training(exported: ExportedProgram) -> None:
    """Dropout or batch statistics that are live make every answer another one."""
    for node in exported.graph.nodes:
        if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
            continue
        given = dict(zip((argument.name for argument in node.target._schema.arguments), node.args, strict=False))
        given |= node.kwargs
        live = given.get("train") is True or given.get("training") is True
        statistics = "running_mean" in given and given["running_mean"] is None
        if live and not statistics:
            raise CompileError(
                "training-mode",
                "the exported program still trains",
                where=onnx_export.line_of(node),
                why=f"{node.target} runs in training mode",
                hint="call model.eval() before torch.export.export",
            )
