"""From whatever the user handed over to a Program: the one table of input formats."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.bundle import sha256
from compiler.contracts import Arrays, Source, TensorSpec
from compiler.errors import CompileError, UsageError
from compiler.frontend.detect import Format, detect, is_factory_reference, no_such_file, weight_files
from compiler.frontend.program import Program, Request
from compiler.frontend.specs import parse

if TYPE_CHECKING:
    import torch

    from compiler.frontend.loaders.factory import Built
    from compiler.frontend.loaders.statedict import StateDict


def format_of(model: Any) -> Format | str:
    """The format of a model, told without loading it."""
    if not isinstance(model, (str, os.PathLike)):
        return f"live {type(model).__name__}"
    if is_factory_reference(os.fspath(model)) and not Path(model).exists():
        return Format.FACTORY
    path = Path(model)
    if not path.exists():
        raise no_such_file(path)
    return detect(path)


def open_program(request: Request) -> Program:
    program = _opened(request)
    if request.translate is None:
        return program
    from compiler.frontend.torch_program import TorchProgram
    from compiler.frontend.translations import translations

    if not isinstance(program, TorchProgram):
        raise UsageError(
            "bad-translations",
            f"'{request.label}' is in ONNX already: there is nothing to translate",
            hint="leave --translate away",
        )
    program.translate(translations(request.translate))
    return program


def _opened(request: Request) -> Program:
    found = format_of(request.model)
    if not isinstance(found, Format):
        return _live(request)
    if request.factory is not None and found not in (Format.STATE_DICT, Format.SAFETENSORS):
        raise UsageError(
            "needless-factory",
            f"--model builds the module for a file of weights; '{request.model}' is {found}",
            hint="leave --model away",
        )
    return _OPENERS[found](request)


# -- one opener per format --------------------------------------------------------------------------------------


def _exported(request: Request) -> Program:
    from compiler.frontend.loaders.exported import load_exported
    from compiler.frontend.torch_program import TorchProgram

    return TorchProgram(_source(request, Format.EXPORTED_PROGRAM), exported=load_exported(request.path, request.trust))


def _torchscript(request: Request) -> Program:
    from compiler.frontend.arguments import script_arguments
    from compiler.frontend.loaders.torchscript import load_torchscript
    from compiler.frontend.torch_program import TorchProgram

    module, traced = load_torchscript(request.path, request.trust)
    names = [argument.name for argument in script_arguments(module)]
    specs = _traced_specs(names, traced or [])
    return TorchProgram(_source(request, Format.TORCHSCRIPT), module, specs=specs)


def _traced_specs(names: list[str], traced: list[Any]) -> tuple[TensorSpec, ...]:
    """What a trace tells of its inputs: their types and shapes, nested ones under dotted names."""
    import torch
    from torch.utils import _pytree as pytree

    from compiler.frontend.arrays import TORCH_DTYPES, tensor_specs
    from compiler.frontend.loaders.torchscript import TracedInput
    from compiler.frontend.naming import named_leaves

    def stand_in(leaf: Any) -> Any:
        known = isinstance(leaf, TracedInput)
        return torch.empty(leaf.shape, dtype=TORCH_DTYPES[leaf.dtype], device="meta") if known else leaf

    nested = pytree.tree_map(stand_in, dict(zip(names, traced, strict=False)))
    return tensor_specs({name: leaf for name, leaf in named_leaves(nested) if isinstance(leaf, torch.Tensor)})


def _weights(request: Request) -> Program:
    from compiler.frontend.loaders.statedict import load_state_dict

    _needed_factory(request)  # before the weights are read
    found = detect(request.path)
    return _filled(request, load_state_dict(request.path, found), found)


def _filled(request: Request, weights: StateDict, found: Format) -> Program:
    from compiler.frontend.loaders.fill import fill

    factory = _needed_factory(request)
    built = _build(factory)
    notes = fill(built.module, weights)
    return _of_built(built, _source(request, found, factory=factory, notes=list(notes)))


def _needed_factory(request: Request) -> str:
    if request.factory is None:
        raise UsageError(
            "weights-only",
            f"'{request.model}' holds weights only, not the model that uses them",
            hint="say what builds the module: --model mynet.py:build",
        )
    return request.factory


def _factory(request: Request) -> Program:
    built = _build(os.fspath(request.model))
    return _of_built(built, _source(request, Format.FACTORY))


def _build(reference: str) -> Built:
    from compiler.frontend.loaders.factory import build_from_factory, load_factory

    return build_from_factory(load_factory(reference))


def _of_built(built: Built, source: Source) -> Program:
    from compiler.frontend.loaders.fill import refuse_leftover_meta
    from compiler.frontend.torch_program import TorchProgram

    refuse_leftover_meta(built.module)
    given = parse(built.specs)
    examples = _named_examples(built)
    return TorchProgram(source, built.module, specs=given.tensors, constants=given.constants, examples=examples)


def _named_examples(built: Built) -> Arrays:
    import inspect

    import torch

    from compiler.frontend.arrays import to_numpy
    from compiler.frontend.naming import named_leaves

    names = list(inspect.signature(built.module.forward).parameters)
    given = {**dict(zip(names, built.args, strict=False)), **built.kwargs}
    return {name: to_numpy(leaf) for name, leaf in named_leaves(given) if isinstance(leaf, torch.Tensor)}


def _huggingface(request: Request) -> Program:
    from compiler.frontend.huggingface_inputs import suggested_specs
    from compiler.frontend.loaders.huggingface import load_huggingface
    from compiler.frontend.torch_program import TorchProgram

    module, facts = load_huggingface(request.path, request.trust)
    source = _source(request, Format.HUGGING_FACE, **facts)
    return TorchProgram(source, module, suggest=lambda: suggested_specs(module))


def _onnx(request: Request) -> Program:
    from compiler.frontend.onnx_program import OnnxProgram

    return OnnxProgram(_source(request, Format.ONNX))


def _pickled(request: Request) -> Program:
    import torch

    from compiler.frontend.loaders.pickled import load_pickled
    from compiler.frontend.torch_program import TorchProgram

    loaded = load_pickled(request.path, request.trust)
    if isinstance(loaded, torch.nn.Module):
        return TorchProgram(_source(request, Format.PICKLED_MODULE), loaded)
    return _filled(request, loaded, Format.STATE_DICT)


def _bundle(request: Request) -> Program:
    raise UsageError(
        "already-compiled",
        f"'{request.model}' is a finished bundle, not a model",
        hint=f"compile verify {request.model}, or compile inspect {request.model}",
    )


_OPENERS: dict[Format, Callable[[Request], Program]] = {
    Format.EXPORTED_PROGRAM: _exported,
    Format.TORCHSCRIPT: _torchscript,
    Format.STATE_DICT: _weights,
    Format.SAFETENSORS: _weights,
    Format.HUGGING_FACE: _huggingface,
    Format.ONNX: _onnx,
    Format.PICKLED_MODULE: _pickled,
    Format.BUNDLE: _bundle,
    Format.FACTORY: _factory,
}


def _live(request: Request) -> Program:
    """Through the Python API: an nn.Module or an ExportedProgram."""
    import torch

    from compiler.frontend.torch_program import TorchProgram

    model = request.model
    source = Source(path=f"<{type(model).__name__}>", format=f"live {type(model).__name__}", sha256="")
    if isinstance(model, torch.export.ExportedProgram):
        return TorchProgram(source, exported=model)
    if isinstance(model, torch.nn.Module):
        return TorchProgram(source, model)
    raise UsageError(
        "not-a-model",
        f"a {type(model).__name__} is no model",
        hint="give a path, an nn.Module or an ExportedProgram",
    )


# -- where it came from -----------------------------------------------------------------------------------------


def _source(request: Request, found: Format, **facts: Any) -> Source:
    name = os.fspath(request.model)
    return Source(path=name, format=found.value, sha256=_digest(source_files(name, found)), facts=facts)


def source_files(name: str, found: Format) -> list[Path]:
    """Every file that the model is read from."""
    if found is Format.FACTORY:
        file = Path(name.rpartition(":")[0])
        return [file] if file.is_file() else []
    path = Path(name)
    if found is Format.HUGGING_FACE:
        return [path / "config.json", *sorted(weight_files(path))]
    if found is Format.ONNX:
        from compiler.frontend.hostile.onnx import external_files

        return [path, *external_files(path)]
    return [path]


def _digest(files: Iterable[Path]) -> str:
    """Of one file its own hash, so that sha256sum agrees; of several the hash of their hashes."""
    try:
        digests = [sha256(path) for path in files]
    except OSError as error:
        raise CompileError("unreadable-file", f"cannot read '{error.filename}'", why=error.strerror) from error
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest() if digests else ""


def output_name(model: torch.nn.Module | str | os.PathLike[str], name: str | None) -> str:
    """What the bundle is called: the file's stem, the folder, or the factory's file."""
    if name:
        return name
    if not isinstance(model, (str, os.PathLike)):
        return type(model).__name__.lower()
    text = os.fspath(model)
    if is_factory_reference(text) and not Path(text).exists():
        origin, _, factory = text.rpartition(":")
        stem = Path(origin).stem if origin.endswith(".py") else origin.rpartition(".")[2]
        return stem if factory == "build" else f"{stem}-{factory}"
    path = Path(text).resolve()
    return path.name if path.is_dir() else path.stem
