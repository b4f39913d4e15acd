"""What the benches time: a bundle, and what one would use without plumbline. Each runs in a process of its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Run = Callable[[], object]


def bundle(folder: str, inputs: str, threads: int) -> Run:
    import backends

    session = backends.load(folder, threads=threads)
    data = dict(np.load(inputs))
    return lambda: session(data)


def plain_onnxruntime(graph: str, inputs: str, threads: int) -> Run:
    """The runtime's defaults on what torch.onnx.export wrote."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph, options)
    data = dict(np.load(inputs))
    return lambda: session.run(None, data)


def plain_openvino(model: str, inputs: str, threads: int) -> Run:
    """The runtime's defaults but float32, on what OpenVINO itself made of the exported program."""
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    data = list(np.load(inputs).values())  # in the order of the signature: the exported names are not OpenVINO's
    request = compiled.create_infer_request()

    def run() -> object:
        request.infer(data)
        return [np.array(output.data) for output in request.output_tensors]

    return run
