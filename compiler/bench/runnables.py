"""What is timed, each in a process of its own: a bundle, and what one would use without plumbline.

Every function here is called in the child, and gives an object that runs the model once when it is called, and tells
what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compiler.bench.subject import Asked
from compiler.contracts import Array, Arrays, Profiling
from compiler.errors import UsageError

if TYPE_CHECKING:
    from compiler.frontend.torch_program import TorchProgram


@dataclass(frozen=True)
class Runnable:
    run: Callable[[], object]
    answers: Callable[[], object]  # of a model, its outputs in their order

    def __call__(self) -> object:
        return self.run()


def bundle(folder: str, inputs: Arrays, options: Mapping[str, Any]) -> Runnable:
    import backends

    session = backends.load(folder, options=options)
    return Runnable(lambda: session(inputs), lambda: list(session(inputs).values()))


def operator_times(folder: str, inputs: Arrays, options: Mapping[str, Any], calls: int) -> Runnable:
    """Asked once: what the runtime's own profiler tells of a bundle."""
    from backends import registry
    from compiler import bundle as bundles

    whole = bundles.read(Path(folder))
    bundles.check(whole)
    artifact = whole.artifact
    backend = registry.get(artifact.target)
    if not isinstance(backend, Profiling):
        raise UsageError("no-profile", f"{artifact.target} does not tell how long its operators take")
    times = backend.profile(artifact, whole.folder, {**artifact.options, **options}, inputs, calls)
    return Runnable(lambda: None, lambda: times)


def eager(asked: Asked, specs: tuple[str, ...], inputs: Arrays, threads: int) -> Runnable:
    import torch

    torch.set_num_threads(threads)
    program = _program(asked, specs, inputs)
    return _of_module(program, program.called(inputs), inputs)


def inductor(asked: Asked, specs: tuple[str, ...], inputs: Arrays, threads: int) -> Runnable:
    import torch

    torch.set_num_threads(threads)
    program = _program(asked, specs, inputs)
    module, args, kwargs = program.called(inputs)
    return _of_module(program, (torch.compile(module), args, kwargs), inputs)


def _of_module(program: TorchProgram, called: tuple[Callable[..., Any], Any, Any], inputs: Arrays) -> Runnable:
    import torch

    function, args, kwargs = called

    def run() -> object:
        with torch.inference_mode():
            return function(*args, **kwargs)

    return Runnable(run, lambda: list(program.named(run()).values()))


def plain_onnxruntime(file: str, inputs: Arrays, threads: int) -> Runnable:
    """The runtime's own defaults."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    taken = [node.name for node in session.get_inputs()]
    feed = {name: inputs[name] for name in taken} if set(taken) <= set(inputs) else _in_order(taken, inputs)
    return Runnable(lambda: session.run(None, feed), lambda: session.run(None, feed))


def plain_openvino(file: str, inputs: Arrays, threads: int) -> Runnable:
    """The runtime's own defaults, but float32."""
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    compiled = openvino.Core().compile_model(file, "CPU", settings)
    taken = [node.any_name for node in compiled.inputs]
    known = set(taken) <= set(inputs)
    data = [inputs[name] for name in taken] if known else list(_in_order(taken, inputs).values())
    request = compiled.create_infer_request()

    def run() -> list[Array]:
        request.infer(data)
        return [np.array(output.data) for output in request.output_tensors]

    return Runnable(run, run)


def _in_order(taken: Sequence[str], inputs: Arrays) -> dict[str, Array]:
    """Converters call inputs by names of their own."""
    return dict(zip(taken, inputs.values(), strict=True))


# -- what has to be made beforehand, so that its memory is not counted with what is timed -------------------------


def onnx_file(asked: Asked, specs: tuple[str, ...], inputs: Arrays, out: Path) -> Runnable:
    """torch.onnx.export with its defaults."""
    import torch

    from compiler.quiet import quiet

    module, args, kwargs = _program(asked, specs, inputs).called(inputs)
    with torch.no_grad(), quiet():
        exported = torch.onnx.export(module, args, kwargs=kwargs, dynamo=True, verbose=False)
    assert exported is not None
    exported.save(out)
    return _MADE


def openvino_file(asked: Asked, specs: tuple[str, ...], inputs: Arrays, out: Path) -> Runnable:
    """OpenVINO's own conversion of the exported program, with weights in float32."""
    import openvino
    import torch

    from compiler.quiet import quiet

    module, args, kwargs = _program(asked, specs, inputs).called(inputs)
    with torch.no_grad(), quiet():
        exported = torch.export.export(module, args, kwargs)
        openvino.save_model(openvino.convert_model(exported), out, compress_to_fp16=False)
    return _MADE


_MADE = Runnable(lambda: None, list)


# -- what they are held against ----------------------------------------------------------------------------------


def reference(asked: Asked, specs: tuple[str, ...], inputs: Arrays) -> Runnable:
    """PyTorch's own answers, and after them those in float64, by name."""
    program = _program(asked, specs, inputs)
    found = program.answers(inputs)
    both: list[Any] = [found.outputs, found.oracle]
    return Runnable(lambda: None, lambda: both)


def _program(asked: Asked, specs: tuple[str, ...], inputs: Arrays) -> TorchProgram:
    from compiler.frontend.open import open_program
    from compiler.frontend.prepare import trace
    from compiler.frontend.torch_program import TorchProgram

    program = open_program(asked.request)
    if not isinstance(program, TorchProgram):
        raise UsageError(
            "no-pytorch",
            f"{asked.request.label} cannot be run by PyTorch",
            why=f"it is {program.source.format}, not a PyTorch model",
            hint="--against onnxruntime,openvino",
        )
    trace(program, (*specs, *asked.constants), inputs, seed=0, effort="quick")
    return program
