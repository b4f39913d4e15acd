"""What OpenVINO's performance counters tell, and which of our nodes each of its own stands for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.openvino import extensions
from backends.openvino import options as settings
from backends.openvino.session import tensor_over
from compiler.contracts import Arrays, Artifact, OperatorTime

if TYPE_CHECKING:
    import openvino

_WARM = 3  # calls that are not counted
_PRODUCTS = {"MatMul", "Convolution", "GroupConvolution", "ConvolutionBackpropData"}


def profile(
    artifact: Artifact, folder: Path, options: Mapping[str, Any], inputs: Arrays, calls: int
) -> list[OperatorTime]:
    import openvino

    core = openvino.Core()
    settings.check(options, core)
    extensions.load(artifact, folder, core)
    written = core.read_model(folder / artifact.files[0])
    compiled = core.compile_model(written, settings.DEVICE, {**settings.properties(options), "PERF_COUNT": "YES"})
    request = compiled.create_infer_request()
    given = {port: tensor_over(inputs[port.node.friendly_name]) for port in compiled.inputs}
    before = _means(request, given, _WARM)
    after = _means(request, given, calls)
    stands_for = _with_unnamed(_originals(compiled, after), written)
    return [
        # Its counters are means over every call since it was loaded, the slow first ones, too.
        OperatorTime(
            name,
            kind,
            max(0.0, (mean * (_WARM + calls) - before.get(name, (0.0, ""))[0] * _WARM) / calls),
            tuple(stands_for[name]),
        )
        for name, (mean, kind) in after.items()
    ]


def _means(request: openvino.InferRequest, given: Mapping[Any, Any], calls: int) -> dict[str, tuple[float, str]]:
    """Seconds and kind of each node that ran, by its name."""
    for _ in range(calls):
        request.infer(given)
    infos = request.get_profiling_info()
    ran = [info for info in infos if str(info.status).endswith("EXECUTED")]
    return {info.node_name: (info.real_time.total_seconds(), info.node_type) for info in ran}


def _originals(compiled: openvino.CompiledModel, ran: Collection[str]) -> dict[str, list[str]]:
    """What it says itself that it fused; "node/WithoutBiases" is its way of saying that a bias was moved."""
    told = dict.fromkeys(ran, "")
    for node in compiled.get_runtime_model().get_ops():
        facts = node.get_rt_info()
        if node.friendly_name in told and "originalLayersNames" in facts:
            told[node.friendly_name] = str(facts["originalLayersNames"].value)
    return {
        name: list(dict.fromkeys(part.partition("/WithoutBiases")[0] for part in names.split(",") if part))
        for name, names in told.items()
    }


def _with_unnamed(stands_for: dict[str, list[str]], written: openvino.Model) -> dict[str, list[str]]:
    """It forgets some: of a product with a bias it names the sum, of a normalization its first step. A product belongs
    to what follows it, and everything else to what comes before."""
    owners = {original: name for name, originals in stands_for.items() for original in originals}
    nodes = [node for node in written.get_ordered_ops() if node.get_type_name() != "Constant"]

    def adopt(node: Any, neighbours: Iterable[Any]) -> None:
        found = {owners[other.friendly_name] for other in neighbours if other.friendly_name in owners}
        if node.friendly_name not in owners and len(found) == 1:
            (owner,) = found
            owners[node.friendly_name] = owner
            stands_for[owner].append(node.friendly_name)

    for node in reversed(nodes):
        if node.get_type_name() in _PRODUCTS:
            adopt(node, [taker.get_node() for output in node.outputs() for taker in output.get_target_inputs()])
    for node in nodes:
        if node.get_type_name() not in _PRODUCTS:
            adopt(node, [value.get_source_output().get_node() for value in node.inputs()])
    return stands_for
