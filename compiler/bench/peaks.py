"""What this machine can do at its best, measured where everything else is: products of matrices, and copies.

A product is tried with whatever is installed, each in a process of its own, and the best rate counts.
"""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compiler.bench.runnables import Runnable
from compiler.contracts import Array
from compiler.errors import PlumblineError
from compiler.measure.contender import Contender

_SIDE = 1024  # of the matrices: 12 MiB in all, and some ten milliseconds
FLOPS = 2 * _SIDE**3  # of one such product
_BURST, _BURSTS = 0.3, 3  # seconds
_COPIES = tuple(2**power for power in (14, 16, 18, 20, 22, 24, 26, 28))  # bytes that are read

_MAKE = "compiler.bench.peaks:"


@dataclass(frozen=True)
class Peak:
    rate: float  # operations in a second
    by: str


@dataclass(frozen=True)
class Peaks:
    threads: int
    products: Mapping[str, Peak]  # by element type
    copies: Mapping[int, float]  # bytes read and written -> bytes in a second: what fits a cache is faster

    def seconds(self, flops: int, moved: int, dtype: str) -> float:
        """The least that so much work can take here: of products and of memory whatever takes longer."""
        product = self.products.get(dtype) or self.products["float32"]
        size = min((size for size in self.copies if size >= moved), default=max(self.copies))
        return max(flops / product.rate, moved / self.copies[size])


def peaks(threads: int, dtypes: Collection[str] = ("float32",), cores: Sequence[int] = ()) -> Peaks:
    environment = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    products = {dtype: _best(threads, dtype, environment, cores) for dtype in {"float32", *dtypes}}
    with Contender("copy", f"{_MAKE}copies", threads, cores=cores) as contender:
        copies: dict[int, float] = contender.answer()
    return Peaks(threads, {dtype: peak for dtype, peak in products.items() if peak is not None}, copies)


def _best(threads: int, dtype: str, environment: Mapping[str, str], cores: Sequence[int]) -> Peak | None:
    """None where nothing here has products of this type."""
    found = []
    for name in PRODUCTS:
        if importlib.util.find_spec(name) is None:
            continue
        try:
            words = (f"{_MAKE}product", name, dtype, threads)
            with Contender(name, *words, environment=environment, cores=cores) as contender:
                best = min(min(contender.burst(_BURST)) for _ in range(_BURSTS))
        except PlumblineError:  # it has none of this type; another one may
            continue
        found.append(Peak(FLOPS / best, name))
    return max(found, key=lambda peak: peak.rate, default=None)


# -- in the processes -------------------------------------------------------------------------------------------


def product(name: str, dtype: str, threads: int) -> Callable[[], object]:
    return PRODUCTS[name](dtype, threads)


def _numpy(dtype: str, _threads: int) -> Callable[[], object]:
    a, b, out = (np.ones((_SIDE, _SIDE), np.dtype(dtype)) for _ in range(3))
    if out.dtype.name not in ("float32", "float64"):
        raise TypeError(f"no library multiplies {dtype} for numpy")
    return lambda: np.matmul(a, b, out=out)


def _torch(dtype: str, threads: int) -> Callable[[], object]:
    import torch

    torch.set_num_threads(threads)
    a, b, out = (torch.ones((_SIDE, _SIDE), dtype=getattr(torch, dtype)) for _ in range(3))

    def run() -> object:
        with torch.inference_mode():
            return torch.mm(a, b, out=out)

    return run


def _openvino(dtype: str, threads: int) -> Callable[[], object]:
    import openvino
    from openvino import opset13 as ops

    kinds = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
    given = ops.parameter(openvino.Shape([_SIDE, _SIDE]), openvino.Type.f32)
    weights = ops.constant(np.ones((_SIDE, _SIDE), np.float32))
    model = openvino.Model([ops.matmul(given, weights, False, False)], [given])
    settings = {"INFERENCE_PRECISION_HINT": kinds[dtype], "INFERENCE_NUM_THREADS": threads}
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(np.ones((_SIDE, _SIDE), np.float32)))
    return lambda: request.infer()


def _onnxruntime(dtype: str, threads: int) -> Callable[[], object]:
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    kind, shape = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}[dtype], [_SIDE, _SIDE]
    array = np.ones(shape, np.dtype(dtype))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info("a", kind, shape)],
        [helper.make_tensor_value_info("c", kind, shape)],
        [numpy_helper.from_array(array, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"a": array})


PRODUCTS: dict[str, Callable[[str, int], Callable[[], object]]] = {
    "numpy": _numpy,
    "torch": _torch,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}


def copies(threads: int) -> Runnable:
    """Asked once: how fast memory of so many bytes is copied, by all threads together."""
    return Runnable(lambda: None, lambda: {2 * size: _copy_rate(size, threads) for size in _COPIES})


def _copy_rate(size: int, threads: int) -> float:
    pairs = [(np.ones(size // threads, np.uint8), np.ones(size // threads, np.uint8)) for _ in range(threads)]
    repeats = max(1, 2**24 // size)
    best = 0.0
    for _ in range(5):
        started = time.perf_counter()
        _together([(pair, repeats) for pair in pairs])
        best = max(best, 2 * (size // threads) * threads * repeats / (time.perf_counter() - started))
    return best


def _together(work: list[tuple[tuple[Array, Array], int]]) -> None:
    def copy(pair: tuple[Array, Array], repeats: int) -> None:
        for _ in range(repeats):
            np.copyto(pair[0], pair[1])

    workers = [threading.Thread(target=copy, args=part) for part in work[1:]]
    for worker in workers:
        worker.start()
    copy(*work[0])
    for worker in workers:
        worker.join()
