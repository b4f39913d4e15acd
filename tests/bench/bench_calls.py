"""What a call of a session costs above the runtime's own bare call: `make bench-calls`.

The model takes microseconds. Both run in one process on the same threads, in turns; the difference is that of the
medians of two bursts that followed each other. Bare is what someone would write who has looked up how the runtime is
called fastest: inputs bound once where it can be, results where they lie.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from compiler.contracts import Array, Arrays  # noqa: E402
from compiler.measure.contender import Contender  # noqa: E402

TARGETS = ("onnxruntime", "openvino", "tvm")
BOUND = 15e-6  # seconds
THREADS = 1
_ROUNDS, _CALLS = 60, 100
_RESAMPLES = 2000

Call = Callable[[], object]


def bare_onnxruntime(folder: Path, inputs: Arrays, options: Mapping[str, Any]) -> Call:
    import onnxruntime

    from backends.onnxruntime.options import session_options

    session = onnxruntime.InferenceSession(folder / "model.onnx", session_options(options))
    return lambda: session.run(None, inputs)


def bare_openvino(folder: Path, inputs: Arrays, options: Mapping[str, Any]) -> Call:
    import openvino

    from backends.openvino.options import properties

    compiled = openvino.Core().compile_model(folder / "model.xml", "CPU", properties(options))
    request = compiled.create_infer_request()
    for port in compiled.inputs:
        request.set_tensor(port, openvino.Tensor(inputs[port.any_name], shared_memory=True))

    outputs = range(len(compiled.outputs))

    def run() -> object:
        request.start_async()
        request.wait()
        return [request.get_output_tensor(place).data for place in outputs]  # `output_tensors` takes 15 µs more

    return run


def bare_tvm(folder: Path, inputs: Arrays, options: Mapping[str, Any]) -> Call:
    """Its arguments are those that the session would make: weights, and views of aligned inputs."""
    from backends.tvm import devices
    from backends.tvm.session import TvmSession
    from compiler import bundle

    session = TvmSession(bundle.read(folder).artifact, folder, options)
    code, put = session.code, devices.Cpu().put
    arguments = [*(put(devices.aligned(array)) for array in inputs.values()), code.weights]
    main = code.main
    return lambda: main(*arguments)


def compared(target: str, folder: str) -> Compared:
    return Compared(target, Path(folder))


class Compared:
    """Made and asked in a process of its own, since thread pools that share one disturb each other."""

    def __init__(self, target: str, folder: Path) -> None:
        import backends

        options = {"threads": THREADS}
        session = backends.load(folder, options=options)
        inputs = {spec.name: np.ones(_shape(spec.dims), spec.dtype) for spec in session.signature.inputs}
        bare: Callable[[Path, Arrays, Mapping[str, Any]], Call] = globals()[f"bare_{target}"]
        self._calls = (bare(folder, inputs, options), lambda: session(inputs))

    def __call__(self) -> None:
        pass

    def answers(self) -> list[tuple[float, float]]:
        """For each round the seconds of a bare call and of one through the session."""
        for call in self._calls:
            _burst(call)
        rounds = []
        for number in range(_ROUNDS):
            first, second = self._calls if number % 2 else reversed(self._calls)
            taken = _burst(first), _burst(second)
            rounds.append(taken if number % 2 else taken[::-1])
        return rounds


def _shape(dims: Sequence[Any]) -> list[int]:
    return [dim if isinstance(dim, int) else dim.lo for dim in dims]


def _burst(call: Call) -> float:
    taken = []
    for _ in range(_CALLS):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def above(rounds: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """The median of the differences, with the interval that holds 95 % of the bootstrap."""
    differences: Array = np.array([ours - bare for bare, ours in rounds])
    drawn = np.random.default_rng(0).choice(differences, (_RESAMPLES, len(differences)))
    low, high = np.quantile(np.median(drawn, axis=1), [0.025, 0.975])
    return float(np.median(differences)), float(low), float(high)


def main() -> int:
    import compiler

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="models/digits_cnn.py:build")
    parser.add_argument("--input", default="image:float32[1,1,8,8]")
    parser.add_argument("--targets", default=",".join(TARGETS))
    arguments = parser.parse_args()
    kept = True
    with tempfile.TemporaryDirectory() as folder:
        for target in arguments.targets.split(","):
            built = compiler.compile(arguments.model, [arguments.input], target=target, output=folder)
            with Contender(target, f"{__file__}:compared", target, str(built.folder)) as contender:
                rounds: list[tuple[float, float]] = contender.answer()
            middle, low, high = (1e6 * value for value in above(rounds))
            bare = 1e6 * statistics.median(taken for taken, _ in rounds)
            kept &= low <= 1e6 * BOUND
            verdict = "ok" if low <= 1e6 * BOUND else f"ABOVE {1e6 * BOUND:.0f}"
            print(f"{target:<12} bare {bare:7.1f} µs, a session {middle:5.1f} [{low:.1f}, {high:.1f}] more  {verdict}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
