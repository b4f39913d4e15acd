"""Our passes beside onnxsim, onnxslim, onnxscript's optimizer and ONNX Runtime's offline one: `make bench-passes`.

Every tool gets the same exported graph, in a process of its own, and is asked for nodes, seconds and bytes. Seconds are
of CPU, of the optimizing alone, without import and reading. `--linear` shows how our time grows with the graph.

With `--folder`, exported graphs and what the others made of them are kept there, so that a run over models of full size
goes on where the last one ended. No process, ours included, gets more than MEMORY or SECONDS_EACH.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
TOOLS = ("ours", "ours+ort", "onnxsim", "onnxslim", "onnxscript", "ort")
PEERS = {"onnxsim": "onnxsim", "onnxslim": "onnxslim", "onnxscript": "onnxscript", "ort": "onnxruntime"}  # packages
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)
EXPONENT, TEN_THOUSAND = 1.15, 5.0
ABOVE, SHARE = 1.03, 0.9  # never more nodes than this many times the best peer's; at or below it on this share
SECONDS = 1.0  # our time is at most this, or onnxsim's
GRAPH_ITSELF = 2**18  # bytes that nodes and names may take, which is much beside the weights of the smallest models
SIZE = 1.05  # times the bytes of the weights, each counted once, that our file may have
MEMORY = 6 * 2**30  # bytes
SECONDS_EACH = 300


# -- in the tool's own process ----------------------------------------------------------------------------------


def ours(source: Path, target: Path) -> float:
    import onnx_ir as ir

    from compiler.ir.store import save
    from compiler.passes import pipeline

    _warm()
    model = ir.load(source)
    started = time.process_time()
    pipeline.run(model)
    seconds = time.process_time() - started
    save(model, target)
    return seconds


def _warm() -> None:
    """Our passes are imported when they first run."""
    import onnx_ir as ir
    from deep_transformer import deep_transformer

    from compiler.passes import pipeline

    pipeline.run(ir.from_proto(deep_transformer(50)))


def ours_for_ort(source: Path, target: Path) -> float:
    """With what the onnxruntime target adds, as ONNX Runtime's optimizer does with its own operators."""
    import onnx_ir as ir

    from backends.onnxruntime.backend import OnnxRuntime
    from compiler.ir.store import save
    from compiler.passes import choice, pipeline
    from compiler.passes.legalize import Legalize

    _warm()
    model, backend = ir.load(source), OnnxRuntime()
    started = time.process_time()
    pipeline.run(model)
    passes: list[pipeline.Named] = [("legalize", Legalize(backend.legality, backend.name))]
    pipeline.run_passes(model, passes + choice.chosen(backend.passes(), choice.parse("default")))
    seconds = time.process_time() - started
    save(model, target)
    return seconds


def onnxsim(source: Path, target: Path) -> float:
    import onnx
    import onnxsim

    model = onnx.load(source)
    started = time.process_time()
    simplified, _ = onnxsim.simplify(model, check_n=0)
    seconds = time.process_time() - started
    onnx.save(simplified, target)
    return seconds


def onnxslim(source: Path, target: Path) -> float:
    import onnx
    import onnxslim

    model = onnx.load(source)
    started = time.process_time()
    slimmed = onnxslim.slim(model)
    seconds = time.process_time() - started
    onnx.save(slimmed, target)
    return seconds


def onnxscript(source: Path, target: Path) -> float:
    import onnx_ir as ir
    from onnxscript.optimizer import optimize

    from compiler.ir.store import save

    model = ir.load(source)
    started = time.process_time()
    optimize(model)
    seconds = time.process_time() - started
    save(model, target)
    return seconds


def ort(source: Path, target: Path) -> float:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 4
    started = time.process_time()
    onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return time.process_time() - started


RUN: dict[str, Callable[[Path, Path], float]] = {
    "ours": ours,
    "ours+ort": ours_for_ort,
    "onnxsim": onnxsim,
    "onnxslim": onnxslim,
    "onnxscript": onnxscript,
    "ort": ort,
}


def child(tool: str, source: str) -> None:
    """One tool on one graph; the last line of what it says is the result."""
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "out.onnx"
        seconds = RUN[tool](Path(source), target)
        nodes = count(onnx.load(target, load_external_data=False).graph)
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
    memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"nodes": nodes, "seconds": seconds, "bytes": size, "memory": memory}))


def export(name: str, size: str, path: str) -> None:
    """The graph as it comes from the exporter, its weights in a file beside it."""
    import onnx_ir as ir

    from compiler import driver
    from compiler.frontend.open import open_program
    from compiler.frontend.prepare import trace
    from compiler.frontend.program import Request

    table = runpy.run_path(str(ROOT / "models" / "table.py"))
    program = open_program(Request(str(ROOT / table["factory"](name, size))))
    captured = driver.capture(program, trace(program, (), None, seed=0, effort="quick"))
    target = Path(path)
    partial = target.parent / "partial"
    partial.mkdir(exist_ok=True)
    ir.save(captured.model, partial / target.name, external_data=f"{target.name}.data")
    for file in sorted(partial.glob(f"{target.name}*"), reverse=True):  # the graph itself last: with it all is there
        file.rename(target.parent / file.name)


def count(graph: Any) -> int:
    """Nodes, with those inside of others; Constant nodes are weights in another place."""
    inner = (attr.g for node in graph.node for attr in node.attribute if attr.HasField("g"))
    return sum(node.op_type != "Constant" for node in graph.node) + sum(map(count, inner))


# -- side by side -----------------------------------------------------------------------------------------------


def measured(tool: str, source: Path) -> dict[str, Any] | None:
    """None where the tool fails. What others do is measured once for each of their versions."""
    kept = source.with_suffix(f".{tool}-{version(PEERS[tool])}.json") if tool in PEERS else None
    if kept is not None and kept.exists():
        said = kept.read_text(encoding="utf-8")
    else:
        said = _run("--child", tool, str(source)) or "null"
        if kept is not None:
            kept.write_text(said, encoding="utf-8")
    found: dict[str, Any] | None = json.loads(said)
    return found


def _run(*words: str) -> str | None:
    """This script in a process of its own, within its bounds: the last line that it says; None where it fails."""
    command = [sys.executable, "-W", "ignore", str(Path(__file__).resolve()), *words]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS_EACH, check=False, preexec_fn=_bounded
        )
    except subprocess.TimeoutExpired:
        return None
    lines = done.stdout.strip().splitlines()
    return lines[-1] if done.returncode == 0 and lines else None


def _bounded() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def exported(name: str, size: str, folder: Path) -> Path:
    """Once for all tools. Where it fails, there is no such file."""
    path = folder / f"{name}.{size}.onnx"
    if not path.exists():
        _run("--export", name, size, str(path))
    return path


def compare(names: list[str], size: str, folder: Path) -> bool:
    print(f"{'model':<18}{'raw':>6}" + "".join(f"{tool:>16}" for tool in TOOLS) + f"{'of best':>9}{'bytes':>7}")
    ratios, slow, large, left = [], [], [], []
    for name in names:
        source = exported(name, size, folder)
        if not source.exists():
            left.append(name)
            continue
        found = {tool: measured(tool, source) for tool in TOOLS}
        cells = "".join(_cell(found[tool]) for tool in TOOLS)
        peers = [result["nodes"] for tool in PEERS if (result := found[tool]) is not None]
        mine = min(result["nodes"] for tool in TOOLS[:2] if (result := found[tool]) is not None)
        ratios.append(mine / min(peers))
        import onnx

        raw = count(onnx.load(source, load_external_data=False).graph)
        weights = found["ours"]["bytes"] / unique_weights(source) if found["ours"] else math.inf
        print(f"{name:<18}{raw:>6}{cells}{ratios[-1]:>9.2f}{weights:>7.2f}", flush=True)
        if not _in_time(found["ours"], found["onnxsim"]):
            slow.append(name)
        if weights > SIZE and found["ours"]["bytes"] > unique_weights(source) + GRAPH_ITSELF:
            large.append(name)
    good = sum(ratio <= 1 for ratio in ratios)
    print(f"not exported within {SECONDS_EACH} s and {MEMORY / 2**30:.0f} GiB: {', '.join(left) or 'none'}")
    print(f"at or below the best on {good} of {len(ratios)}; at most {max(ratios):.2f} times the best")
    print(f"longer than {SECONDS:.0f} s and than onnxsim: {', '.join(slow) or 'none'}")
    print(f"more bytes than {SIZE} times the weights: {', '.join(large) or 'none'}")
    return good >= SHARE * len(ratios) and max(ratios) <= ABOVE and not (slow or large or left)


def _in_time(ours: dict[str, Any] | None, theirs: dict[str, Any] | None) -> bool:
    if ours is None:
        return False
    return bool(ours["seconds"] <= max(SECONDS, theirs["seconds"] if theirs is not None else 0.0))


def unique_weights(source: Path) -> int:
    """Bytes of the exported weights, each content once."""
    import onnx_ir as ir

    tensors = [value.const_value for value in ir.load(source).graph.initializers.values()]
    return sum({sha256(tensor.tobytes()).digest(): tensor.nbytes for tensor in tensors if tensor is not None}.values())


def _cell(result: dict[str, Any] | None) -> str:
    return f"{'fails':>16}" if result is None else f"{result['nodes']:>8} {result['seconds']:>5.1f} s"


def linear(sizes: tuple[int, ...]) -> bool:
    """The slope of time over nodes, both as logarithms; the median of three runs each."""
    import onnx_ir as ir
    from deep_transformer import deep_transformer

    from compiler.passes import pipeline

    pipeline.run(ir.from_proto(deep_transformer(200)))
    points = []
    for size in sizes:
        times = []
        for _ in range(3 if size <= 10_000 else 1):
            model = ir.from_proto(deep_transformer(size))
            started = time.process_time()
            records = pipeline.run(model)
            times.append(time.process_time() - started)
        seconds = sorted(times)[len(times) // 2]
        points.append((math.log(size), math.log(seconds)))
        print(f"{size:>7} nodes: {seconds:7.2f} s of CPU, {records[-1].nodes_after} left", flush=True)
    slope = _slope(points)
    ten = math.exp(dict(points)[math.log(10_000)])
    print(f"exponent {slope:.3f} (at most {EXPONENT}); 10,000 nodes in {ten:.1f} s (at most {TEN_THOUSAND:.0f})")
    return slope <= EXPONENT and ten <= TEN_THOUSAND


def _slope(points: list[tuple[float, float]]) -> float:
    middle_x, middle_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    over = sum((x - middle_x) * (y - middle_y) for x, y in points)
    return over / sum((x - middle_x) ** 2 for x, _ in points)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="of the zoo; all without any")
    parser.add_argument("--size", choices=("small", "full"), default="small")
    parser.add_argument("--linear", action="store_true", help="only how our time grows")
    parser.add_argument("--folder", help="where exported graphs are kept from run to run")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--export", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(HERE)]
    if options.child:
        child(*options.child)
        return
    if options.export:
        export(*options.export)
        return
    if options.linear:
        sys.exit(0 if linear(SIZES) else 1)
    names = options.models or list(runpy.run_path(str(ROOT / "models" / "table.py"))["models"]())
    with tempfile.TemporaryDirectory() as folder:
        place = Path(options.folder or folder)
        place.mkdir(parents=True, exist_ok=True)
        good = compare(names, options.size, place)
    sys.exit(0 if good and linear(SIZES) else 1)


if __name__ == "__main__":
    main()
