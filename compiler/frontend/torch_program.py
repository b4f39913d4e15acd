"""A PyTorch module, ExportedProgram or ScriptModule as a Program: named flat inputs in, named flat outputs out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import torch
from torch.export import Dim as TorchDim
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import ConstraintViolationError
from torch.utils import _pytree as pytree

from compiler.cases import Scores
from compiler.contracts import Array, Arrays, Dim, Inside, Source, TensorSpec
from compiler.errors import CompileError, UsageError
from compiler.frontend import graph_ranges, loops, onnx_export
from compiler.frontend.arguments import arrange, parameters_of
from compiler.frontend.arrays import to_numpy, to_torch
from compiler.frontend.call import Call, call_of, spelled_out
from compiler.frontend.changed_inputs import ReturningChanged, changed_inputs, told
from compiler.frontend.decisions import Decisions, decides
from compiler.frontend.exported_facts import (
    exported_outputs,
    exported_specs,
    refuse_outputs,
    refuse_training,
    within,
)
from compiler.frontend.index_outputs import IndexOutputs
from compiler.frontend.inside import ExportedInside
from compiler.frontend.lifted_noise import Lifted, Watch, Watched, refuse_to_lift, sizes_of
from compiler.frontend.naming import tensor_outputs
from compiler.frontend.oracle import Look, float64_oracle, looked_at
from compiler.frontend.program import NO_PINS, Answers, InputRange, Parameter, Pins
from compiler.frontend.recurrent import dynamic_recurrence
from compiler.frontend.script_constants import with_constants
from compiler.frontend.script_parts import as_one_script
from compiler.frontend.specialization import specialized, watch_shapes
from compiler.frontend.state import forgets, unchanged, writes_in_place
from compiler.frontend.user_code import first_lines, user_code
from compiler.quiet import noted_on_failure, quiet

if TYPE_CHECKING:
    import onnx_ir as ir

    from compiler.frontend.translations import Translations


_EXPORT_HINT = "--input can name other inputs or fix a dim; --debug shows torch's whole report"


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
        constants: Mapping[str, Any] | None = None,
    ) -> None:
        if exported is not None:
            refuse_training(exported)
        self._source = source
        self._exported = exported
        self._given = exported  # what came from outside, as opposed to what `trace` made
        self._module: torch.nn.Module = (
            exported.module(check_guards=False) if exported is not None else _evaluated(module)
        )
        self._call = call_of(exported) if exported is not None else None
        self._specs = specs
        self._suggest = suggest
        self._examples = dict(examples or {})
        self._constants = dict(constants or {})
        self._traced: tuple[TensorSpec, ...] = ()
        self._translations: Translations = {}
        self._indices: IndexOutputs | None = None
        self._notes: tuple[str, ...] = ()
        self._noise: dict[str, InputRange] = {}  # of the inputs that were lifted out of forward
        self._changed: set[str] = set()  # buffers that forward was seen to change
        self._translated: ExportedProgram | None = None
        self._outputs: list[str] = []

    # -- what it takes ------------------------------------------------------------------------------------------

    @property
    def source(self) -> Source:
        return self._source

    def parameters(self) -> tuple[Parameter, ...]:
        if self._given is not None:
            return tuple(Parameter(str(spec), required=True) for spec in exported_specs(self._given))
        return parameters_of(self._module)

    def declared(self) -> tuple[TensorSpec, ...]:
        return exported_specs(self._given) if self._given is not None else self._specs

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

    def translate(self, table: Translations) -> None:
        """How operators that torch's exporter does not know become ONNX."""
        self._translations = table

    # -- tracing ------------------------------------------------------------------------------------------------

    def trace(self, specs: tuple[TensorSpec, ...], example: Arrays, constants: Mapping[str, Any]) -> None:
        self._trace(specs, example, constants)
        if self._exported is None or self._call is None:
            return
        changed = changed_inputs(self._exported, self._call)
        if changed:
            self._notes = (told(changed),)
            self._module = ReturningChanged(self._module, self._call, changed)
            tensors = {name: to_torch(array) for name, array in example.items()}
            self._exported = self._export(self._module, self._call, specs, tensors)

    def lift_random(
        self, specs: tuple[TensorSpec, ...], example: Arrays, constants: Mapping[str, Any]
    ) -> tuple[TensorSpec, ...]:
        if self._given is not None or isinstance(self._module, torch.jit.ScriptModule):
            raise refuse_to_lift("an exported program" if self._given is not None else "a script")
        call = arrange(self._module, [spec.name for spec in specs], {**self._constants, **constants})
        watch, tensors = Watch(), {name: to_torch(array) for name, array in example.items()}
        exported = self._export(Watched(self._module, watch), call, specs, tensors)
        dims, taken = sizes_of(exported, call, specs), {spec.name for spec in specs}
        names = (name for name in map("noise_{}".format, count()) if name not in taken)
        noise = dict(zip(names, watch.drawn, strict=False))
        if noise:
            self._module = Lifted(self._module, tuple(noise))
            self._noise = {name: drawn.range for name, drawn in noise.items()}
        return tuple(drawn.spec(name, dims) for name, drawn in noise.items())

    def _trace(self, specs: tuple[TensorSpec, ...], example: Arrays, constants: Mapping[str, Any]) -> None:
        self._traced = specs
        if self._given is not None:
            self._hold_to_declared(specs, constants)
            return
        # A mixture of experts as one batched product: grouped products are neither exported nor known in float64.
        _choose(self._module, "set_experts_implementation", "batched_mm")
        self._call = arrange(self._module, [spec.name for spec in specs], {**self._constants, **constants})
        tensors = {name: to_torch(array) for name, array in example.items()}
        if isinstance(self._module, torch.jit.ScriptModule):
            self._trace_script(specs, tensors)
        else:
            try:
                self._exported = self._export(self._module, self._call, specs, tensors)
            except CompileError as error:
                self._module = as_one_script(self._module, error)
                self._trace(specs, example, constants)
                return
            self._source = replace(self._source, route="torch.export")
        if self._exported is not None:
            refuse_training(self._exported)
            refuse_outputs(exported_outputs(self._exported))

    def _hold_to_declared(self, specs: tuple[TensorSpec, ...], constants: Mapping[str, Any]) -> None:
        assert self._given is not None
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
                if not within(asked, allowed):
                    raise UsageError(
                        "input-mismatch",
                        f"'{want}' asks for more than the exported program allows: '{have}'",
                        hint="leave --input away to use the program's own ranges, or export it again",
                    )
        self._source = replace(self._source, route="ExportedProgram")
        refuse_outputs(exported_outputs(self._given))

    def _export(
        self,
        module: torch.nn.Module,
        call: Call,
        specs: tuple[TensorSpec, ...],
        tensors: Mapping[str, torch.Tensor],
    ) -> ExportedProgram:
        shapes = _dynamic_shapes(specs)
        args, kwargs = call.bind(tensors)
        module = spelled_out(module, kwargs)
        dynamic_args, dynamic_kwargs = call.bind(shapes, constant=lambda _: None)
        # Under forward's own names, and `*rest` as one tuple, as torch.export wants it.
        named = inspect.signature(module.forward).bind_partial(*dynamic_args, **dynamic_kwargs).arguments
        dynamic_shapes = dict(named) if any(shapes.values()) else None
        failure = user_code("capture-failed", "torch.export cannot capture this model", hint=_EXPORT_HINT)
        with torch.no_grad(), failure, quiet(), noted_on_failure(), dynamic_recurrence(), watch_shapes() as watch:
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
        return {**graph_ranges.of_exported(self._exported, names, self._traced), **self._noise}

    def run(self, inputs: Arrays, *, precise: bool) -> dict[str, Array]:
        return self._answered(inputs, precise=precise)

    def answers(self, inputs: Arrays, *, shaken: Arrays | None = None, pins: Pins = NO_PINS) -> Answers:
        decisions = Decisions(pins) if self.decides() else None
        outputs = self._answered(inputs, precise=False, look=decisions.own() if decisions else None)
        looks = [decisions.wide() if decisions else None for _ in range(2)]
        oracle = self._answered(inputs, precise=True, look=looks[0])
        moved = None if shaken is None else self._answered(shaken, precise=True, look=looks[1])
        found = looks[0].close() if looks[0] else ((), 0)
        return Answers(outputs, oracle, moved, *found)

    def decides(self) -> bool:
        return decides(self._exported)

    def _answered(self, inputs: Arrays, *, precise: bool, look: Look | None = None) -> dict[str, Array]:
        assert self._call is not None, "trace comes first"
        tensors = {name: to_torch(inputs[name]) for name in self._call.names}
        failure = user_code("model-raised", "the model itself fails on these inputs")
        kept = unchanged(self._module, writes_in_place(self._exported), self._changed)
        mode: AbstractContextManager[None] = nullcontext()
        if precise:
            mode = float64_oracle(self._module, tensors.values(), look)
        elif look is not None:
            mode = looked_at(look)
        with torch.no_grad(), failure, kept, mode:
            outputs = tensor_outputs(self._run(tensors), self._call.names)
        return {name: to_numpy(tensor) for name, tensor in outputs.items()}

    def loops_on_data(self) -> bool:
        return loops.in_scripts(self._module) or loops.in_exported(self._exported)

    def scores(self, inputs: Arrays, oracle: Arrays) -> Mapping[str, Scores]:
        assert self._call is not None, "trace comes first"
        if self._indices is None:
            self._indices = IndexOutputs(self._exported, self._call.leaves)
        tensors = {name: to_torch(inputs[name]) for name in self._call.names}
        with user_code("model-raised", "the exported program fails on inputs that the model takes"):
            return self._indices.scores(tensors, oracle)

    def called(self, inputs: Arrays) -> tuple[torch.nn.Module, tuple[Any, ...], dict[str, Any]]:
        """The module and its arguments, for those who want to call it by themselves."""
        assert self._call is not None, "trace comes first"
        args, kwargs = self._call.bind({name: to_torch(inputs[name]) for name in self._call.names})
        return self._module, args, kwargs

    def named(self, result: Any) -> dict[str, Array]:
        """What such a call gave."""
        assert self._call is not None, "trace comes first"
        return {name: to_numpy(tensor) for name, tensor in tensor_outputs(result, self._call.names).items()}

    def notes(self) -> tuple[str, ...]:
        return (*self._notes, forgets(self._changed)) if self._changed else self._notes

    def _run(self, tensors: Mapping[str, torch.Tensor]) -> Any:
        assert self._call is not None
        args, kwargs = self._call.bind(tensors)
        return self._module(*args, **kwargs)

    def capture(self, opset: int) -> ir.Model:
        assert self._call is not None, "trace comes first"
        if self._exported is None:
            assert isinstance(self._module, torch.jit.ScriptModule)
            tensors = {name: to_torch(array) for name, array in self._examples_for_script().items()}
            module, call = with_constants(self._module, self._call)
            args, _ = call.bind(tensors)
            with torch.no_grad():
                outputs = tensor_outputs(module(*args), call.names)
            refuse_outputs(outputs)
            model = onnx_export.from_script(module, args, call.names, list(outputs), self._traced)
        else:
            names = list(exported_outputs(self._exported))
            written = onnx_export.from_exported(
                self._exported, opset, retry=self._with_eager_attention, translations=self._translations
            )
            self._translated = written.meta[onnx_export.TRANSLATED]
            model = written.clone()  # because the exporter leaves uses behind by nodes that it has dropped
            onnx_export.name_inputs(model, self._call.names)
            onnx_export.name_outputs(model, names)
        onnx_export.name_dims(model, self._traced)
        self._outputs = [str(value.name) for value in model.graph.outputs]
        return model

    def inside(self) -> Inside | None:
        if self._translated is None or self._call is None:
            return None
        return ExportedInside(self._module, self._translated, self._call, self._outputs)

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


def _choose(module: Any, setting: str, kernel: str) -> bool:
    """transformers' models let one choose between implementations of the same mathematics."""
    if not hasattr(module, setting):
        return False
    try:
        getattr(module, setting)(kernel)
    except (ValueError, AttributeError):
        return False  # this model has no such kernel
    return True


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
