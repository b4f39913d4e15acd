"""A loaded model in OpenVINO."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backends.openvino import options as settings
from compiler.contracts import Array, Arrays, Artifact, Closing
from compiler.errors import CompileError

if TYPE_CHECKING:
    import openvino


class OpenVinoSession(Closing):
    def __init__(self, artifact: Artifact, folder: Path, options: Mapping[str, Any]) -> None:
        import openvino

        core = openvino.Core()
        settings.check(options, core)
        try:
            model = core.read_model(folder / artifact.files[0])
            self._compiled = core.compile_model(model, settings.DEVICE, settings.properties(options))
        except RuntimeError as error:
            raise CompileError(
                "runtime-refused", "OpenVINO does not take this graph", why=str(error).strip().splitlines()[-1]
            ) from error
        places = {port.node.friendly_name: number for number, port in enumerate(self._compiled.inputs)}
        self._inputs = [(spec.name, places[spec.name]) for spec in artifact.signature.inputs if spec.name in places]
        self._outputs = [(spec.name, spec.dtype) for spec in artifact.signature.outputs]
        self._idle: deque[openvino.InferRequest] = deque()

    @property
    def effective(self) -> Mapping[str, Any]:
        read = self._compiled.get_property
        return {
            "device": ", ".join(read("EXECUTION_DEVICES")),
            "precision": read("INFERENCE_PRECISION_HINT").to_string(),
            "execution_mode": read("EXECUTION_MODE_HINT").name,
            "hint": str(read("PERFORMANCE_HINT")).rpartition(".")[2],
            "streams": read("NUM_STREAMS"),
            "threads": read("INFERENCE_NUM_THREADS"),
        }

    def __call__(self, inputs: Arrays) -> dict[str, Array]:
        given = [(place, _tensor(inputs[name])) for name, place in self._inputs]
        with self._request() as request:
            for place, tensor in given:
                request.set_input_tensor(place, tensor)
            # On the runtime's own threads: for a small model `infer`, which stays on ours, takes four times as long.
            request.start_async()
            request.wait()
            return {
                name: _array(request.get_output_tensor(place), dtype)
                for place, (name, dtype) in enumerate(self._outputs)
            }

    @contextmanager
    def _request(self) -> Iterator[openvino.InferRequest]:
        """One that nobody else uses; as many are made as calls run at the same time."""
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        yield request
        self._idle.append(request)  # not after an error: what state that leaves is not known

    def close(self) -> None:
        self._idle.clear()
        del self._compiled


def _tensor(array: Array) -> openvino.Tensor:
    """Over the array's own memory wherever that can be."""
    import openvino

    plain = np.require(array, requirements=("C", "ALIGNED", "WRITEABLE"))
    if array.dtype.name == "bfloat16":  # numpy's buffers have no such type
        return openvino.Tensor(plain.view(np.uint16), array.shape, openvino.Type.bf16)
    return openvino.Tensor(plain, shared_memory=True)


def _array(tensor: openvino.Tensor, dtype: str) -> Array:
    array: Array = tensor.data.copy()
    if dtype == "bfloat16":
        import ml_dtypes

        return array.view(ml_dtypes.bfloat16)
    return array
