"""Which inputs a program is captured and checked with: what the file says, what the user says, what is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compiler.contracts import Arrays, TensorSpec
from compiler.errors import CompileError, UsageError, did_you_mean
from compiler.frontend.examples import check_inputs, example_inputs, specs_of
from compiler.frontend.program import InputRange, Program
from compiler.frontend.reference import ReferencePlan
from compiler.frontend.sizes import trace_sizes
from compiler.frontend.specs import EXAMPLE, InputSpecs, parse


def trace(
    program: Program,
    texts: Sequence[str],
    data: Arrays | None,
    *,
    seed: int,
    effort: str,
    lift_random: bool = False,
) -> ReferencePlan:
    """Settle the input specs, trace the program with them, and plan the reference cases."""
    given = parse(texts)
    specs = settle(program, given, data)
    _refuse_complex(specs)
    notes: tuple[str, ...] = ()
    if lift_random:
        specs = specs or program.suggested()
        specs = (*specs, *program.lift_random(specs, example_inputs(specs), given.constants))
    if specs or given.constants:
        program.trace(specs, example_inputs(specs), given.constants)
    else:
        specs, notes = _trace_suggested(program)
    cases: dict[str, Arrays] = {}
    ranges = program.ranges()
    taken = tuple(spec for spec in specs if not _is_noise(spec, ranges))
    noise = ReferencePlan(tuple(spec for spec in specs if _is_noise(spec, ranges)), ranges, seed=seed)
    if data is not None:
        cases["given inputs"] = {**data, **noise.inputs(check_inputs(data, taken), 0)}
    elif _fits(program.examples(), taken):
        examples = program.examples()
        cases["the file's own inputs"] = {**examples, **noise.inputs(check_inputs(examples, taken), 0)}
    return ReferencePlan(specs, ranges, cases, seed, effort, notes)


def _is_noise(spec: TensorSpec, ranges: Mapping[str, InputRange]) -> bool:
    return spec.name in ranges and ranges[spec.name].noise


def _refuse_complex(specs: Sequence[TensorSpec]) -> None:
    for spec in specs:
        if spec.dtype.startswith("complex"):
            real = "float64" if spec.dtype == "complex128" else "float32"
            dims = ",".join(map(str, (*spec.dims, 2)))
            raise CompileError(
                "complex-numbers",
                f"the input '{spec}' is complex",
                why="no target takes complex tensors; inside of the model they are fine",
                hint=f"give forward real and imaginary parts and begin with {spec.name} = "
                f"torch.view_as_complex({spec.name}): --input '{spec.name}:{real}[{dims}]'",
            )


def _trace_suggested(program: Program) -> tuple[tuple[TensorSpec, ...], tuple[str, ...]]:
    """Inputs that nobody asked for may lose a dim that does not stay dynamic; it is said, and they are used."""
    specs = program.suggested()
    if not specs:
        raise _no_inputs(program)
    try:
        program.trace(specs, example_inputs(specs), {})
    except CompileError as error:
        # torch fails in many ways on a dim that it cannot keep dynamic, some of them by accident.
        if error.code not in ("dim-specialized", "capture-failed") or not any(spec.dynamic for spec in specs):
            raise
        fixed = _with_fixed_dims(specs)
        program.trace(fixed, example_inputs(fixed), {})
        message = "torch.export captures fixed sizes only" if error.code == "capture-failed" else error.message
        why = f"{message}; nobody asked for a dynamic one, so every size is fixed"
        return fixed, (why + (f" (see {error.where})" if error.where else ""),)
    return specs, ()


def _with_fixed_dims(specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    sizes = trace_sizes(specs)
    return tuple(TensorSpec(spec.name, spec.dtype, spec.shape(sizes)) for spec in specs)


def settle(program: Program, given: InputSpecs, data: Arrays | None) -> tuple[TensorSpec, ...]:
    """The user's --input first, then --inputs data, then what the file declares, then its example inputs."""
    asked = {spec.name: spec for spec in given.tensors}
    arrays = data if data is not None else program.examples()
    known = {spec.name: spec for spec in (*specs_of(arrays), *program.declared())}
    specs = {**_narrow(known, asked, given.constants), **asked}
    ordered = [*(name for name in known if name in specs), *(name for name in specs if name not in known)]
    if unknown := [
        name for name in (*asked, *given.constants) if name not in known and program.source.format in _CLOSED
    ]:
        raise UsageError(
            "unknown-input",
            f"the model takes no input '{unknown[0]}'",
            why=f"it takes {', '.join(map(str, program.declared()))}",
            hint=did_you_mean(unknown[0], known),
        )
    if missing := [spec for spec in program.declared() if spec.name not in specs and program.source.format in _CLOSED]:
        raise UsageError("input-mismatch", f"the input '{missing[0]}' is missing")
    return tuple(specs[name] for name in ordered)


# Formats whose inputs are all needed; a module's forward may have optional ones.
_CLOSED = ("pt2", "onnx", "live ExportedProgram")


def _narrow(
    known: Mapping[str, TensorSpec], asked: Mapping[str, TensorSpec], constants: Mapping[str, Any]
) -> dict[str, TensorSpec]:
    """What the file knows, less what the user fixed as a scalar; a dim the user ranged holds for every input."""
    dims = {dim.name: dim for spec in asked.values() for dim in spec.dynamic}
    return {
        name: TensorSpec(spec.name, spec.dtype, tuple(dims.get(getattr(dim, "name", ""), dim) for dim in spec.dims))
        for name, spec in known.items()
        if name not in constants
    }


def _fits(examples: Arrays, specs: Sequence[TensorSpec]) -> bool:
    if not examples:
        return False
    try:
        check_inputs(examples, specs)
    except UsageError:
        return False  # the user asked for other shapes than the file's example has
    return True


def _no_inputs(program: Program) -> UsageError:
    takes = program.parameters()
    required = [parameter for parameter in takes if parameter.required] or list(takes)
    name = required[0].name if required else "x"
    options = (
        " ".join(
            f"--input '{parameter.name}{'=VALUE' if parameter.is_scalar else ':DTYPE[DIMS]'}'" for parameter in required
        )
        or f"--input '{EXAMPLE}'"
    )
    return UsageError(
        "inputs-unknown",
        "the file does not say what its inputs look like",
        why=f"forward takes {', '.join(map(str, takes)) or 'nothing that could be read off'}",
        hint=f"add {options}, as in --input '{EXAMPLE.replace('x:', name + ':', 1)}'; or --inputs data.npz",
    )
