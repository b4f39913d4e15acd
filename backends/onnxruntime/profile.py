"""What ONNX Runtime's profiler tells, and which of our nodes each of its own stands for."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.onnxruntime import options as settings
from compiler.contracts import Arrays, OperatorTime

if TYPE_CHECKING:
    import onnx

_WARM = 2  # calls that are not counted
_KERNEL = "_kernel_time"
_MOVED = {"Add", "Sum", "Relu", "LeakyRelu", "Clip", "Sigmoid", "HardSigmoid", "Tanh"}  # into a convolution before
_SIZES = ("parameter_size", "activation_size", "output_size")  # bytes of what a node reads and gives
_BLOCKED = "_nchwc"  # what it names a convolution after that it gave a layout of its own


def profile(graph: Path, options: Mapping[str, Any], inputs: Arrays, calls: int) -> list[OperatorTime]:
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        made = settings.session_options(options)
        made.enable_profiling = True
        made.profile_file_prefix = str(Path(folder) / "profile")
        made.optimized_model_filepath = str(Path(folder) / "run.onnx")
        # Weights go to a file that nobody reads: of a large model they would not fit into the graph.
        made.add_session_config_entry("session.optimized_model_external_initializers_file_name", "run.data")
        session = onnxruntime.InferenceSession(os.fspath(graph), made, providers=settings.providers(options))
        for _ in range(_WARM + calls):
            session.run(None, dict(inputs))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        run = onnx.load(made.optimized_model_filepath, load_external_data=False).graph
    written = onnx.load(graph, load_external_data=False).graph
    return list(_times(events, run, stands_for(run, written)))


def _times(
    events: Iterable[Mapping[str, Any]], run: onnx.GraphProto, stands_for: Mapping[str, Sequence[str]]
) -> Iterable[OperatorTime]:
    """Of the nodes of the graph itself: the time of those within a loop is that of the loop."""
    told: dict[str, list[Mapping[str, Any]]] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith(_KERNEL):
            told.setdefault(name.removesuffix(_KERNEL), []).append(event)
    for node in run.node:
        if counted := told.get(node.name, [])[_WARM:]:
            seconds = 1e-6 * statistics.median(float(event["dur"]) for event in counted)
            size = sum(int(counted[0]["args"].get(part, 0)) for part in _SIZES)
            yield OperatorTime(node.name, node.op_type, seconds, tuple(stands_for[node.name]), size)


def stands_for(run: onnx.GraphProto, written: onnx.GraphProto) -> dict[str, list[str]]:
    """For each node of the graph that it runs, those of the graph as written.

    Values keep their names through its rewrites: what it makes of several nodes is what lies between the values that
    it reads and gives. A convolution in a layout of its own keeps none, but the name of its first result.
    """
    producers = {name: node for node in written.node for name in node.output if name}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in written.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found: dict[str, dict[str, None]] = {}
    taken = {name for node in run.node for name in _results(node) if name in producers}
    for node in reversed(run.node):  # a sum goes to the later one of the two convolutions before it
        if node.name.endswith(_BLOCKED) and (name := node.name.removesuffix(_BLOCKED)) in producers:
            results = [name, *_after(name, taken, readers)]
            taken.update(results)
            found[node.name] = dict.fromkeys(producers[result].name for result in results)
    taken |= {name for node in run.node for name in node.output}
    for node in run.node:
        results = [name for name in _results(node) if name in producers]
        found.setdefault(node.name, {}).update(_between(results, taken, producers))
    return {name: list(nodes) for name, nodes in found.items()}


def _results(node: onnx.NodeProto) -> list[str]:
    """What it computes, by the names of the graph as written."""
    if node.op_type.startswith("Reorder"):  # another layout of what others computed
        return []
    return [*node.output, node.name.removesuffix(_BLOCKED)]


def _after(value: str, taken: set[str], readers: Mapping[str, Sequence[onnx.NodeProto]]) -> list[str]:
    """A sum and an activation that were moved into what gives the value: nobody else computes them."""
    followers: list[str] = []
    while True:
        following = readers.get(value, ())
        if len(following) != 1 or following[0].op_type not in _MOVED or following[0].output[0] in taken:
            return followers
        value = following[0].output[0]
        followers.append(value)


def _between(results: Sequence[str], taken: set[str], producers: Mapping[str, onnx.NodeProto]) -> dict[str, None]:
    """The nodes behind some values, back to others that somebody else computes."""
    found: dict[str, None] = {}
    ahead = list(results)
    while ahead:
        node = producers[ahead.pop()]
        if node.name not in found:
            found[node.name] = None
            ahead += [name for name in node.input if name in producers and name not in taken]
    return found
