"""report.html of a bundle: the verdict first, then everything it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from compiler.report import auto, bench, precision, words
from compiler.report.explain import operators as changes
from compiler.report.html import plots, timing, tried
from compiler.report.html.machine import environment
from compiler.report.html.markup import Markup, join, tag
from compiler.report.html.page import Head, Section, State, figure, marked, note, page, pairs, table

Manifest = Mapping[str, Any]

_STATES: Mapping[str, tuple[State, str]] = {
    "passed": ("good", "IT COMPUTES WHAT THE MODEL COMPUTES"),
    "failed": ("bad", "REJECTED"),
    "not run": ("warn", "BUILT, NOT RUN"),
    "skipped": ("warn", "NOT VERIFIED"),
}


def html(
    name: str,
    manifest: Manifest,
    size: int,
    *,
    layers: Mapping[str, Any] | None = None,
    choice: Mapping[str, Any] | None = None,
) -> str:
    """`size` is of the artifact's files; `layers` are what `--layers` found, `choice` is what `--target auto` chose."""
    data = {**manifest, **({"layers": layers} if layers else {}), **({"choice": choice} if choice else {})}
    return page(_head(name, manifest, size, choice), _sections(manifest, layers, choice), data)


def _head(name: str, manifest: Manifest, size: int, choice: Mapping[str, Any] | None) -> Head:
    verdict, artifact = manifest["verdict"], manifest["artifact"]
    state, word = _STATES[verdict["status"]]
    low = manifest["precision"]
    if state == "good" and (low or any(output["decided"] != "budget" for output in verdict["outputs"])):
        word = "IT KEEPS WHAT WAS ASKED FOR"  # which is another thing than being equal
    precision = low["precision"] if low else artifact["precision"]
    facts = [("runtime", artifact["runtime"]), ("size", words.size(size)), ("precision", precision)]
    if verdict["outputs"]:
        worst = max(float(output["used"]) for output in verdict["outputs"])
        facts += [("of the error budget", words.percent(worst)), ("cases", str(verdict["cases"]))]
    sentence = words.sentence(manifest)
    if choice is not None:
        row = auto.chosen(choice)
        facts += [("median of a call", f"{1000 * row['latency']['p50']:.3g} ms")]
        if row["ratio"] is not None:
            facts += [(f"of the time of {choice['table']['against']}", bench.times(row["ratio"]["value"]))]
        sentence = f"{sentence} {auto.sentence(choice)}"
        if choice["warnings"]:
            state, word = "warn", choice["warnings"][0]
    return Head(
        name, f"compiled from {manifest['source']['path']} for {artifact['target']}", state, word, sentence, facts
    )


def _sections(
    manifest: Manifest, layers: Mapping[str, Any] | None, choice: Mapping[str, Any] | None
) -> Iterator[Section]:
    if choice is not None:
        yield from timing.sections([choice["table"]])
        yield Section("choice", "Why this one", [*_why(choice)])
        if "mixes" in choice:
            yield Section("mixes", "Which precisions were tried", [*tried.parts(choice)])
    yield Section("outputs", "Error of each output", [*_outputs(manifest)])
    if manifest["verdict"]["edges"]:
        yield Section("edges", "Edge behaviour", [*_edges(manifest["verdict"]["edges"])])
    if manifest["precision"]:
        yield Section("precision", "What computes in lower precision", [*_precision(manifest["precision"])])
    yield Section("layers", "Where precision is lost", [*_layers(layers)])
    yield Section("passes", "What the passes did", [*_passes(manifest)])
    yield Section("interface", "Inputs and outputs", [_interface(manifest["artifact"]["signature"])])
    yield Section("origin", "What it was made from", [_origin(manifest["source"])])
    running = {**manifest["effective"], **manifest["artifact"]["options"]}
    yield environment(manifest["host"], manifest["versions"], running)


# -- the verdict ------------------------------------------------------------------------------------------------


def _outputs(manifest: Manifest) -> Iterator[Markup]:
    verdict, reference = manifest["verdict"], manifest["reference"]
    outputs = verdict["outputs"]
    worst = sorted((one for one in outputs if one["shares"]), key=lambda one: -float(one["used"]))[: plots.MOST]
    if worst:
        shares = [(one["output"], {kind: float(share) for kind, share in one["shares"].items()}) for one in worst]
        yield figure(
            plots.budgets("budgets", shares),
            "The budget of an element is made of the model's own rounding error against float64. A full mark is the "
            "largest share." + _rest(len(outputs) - len(worst), "outputs"),
        )
    if outputs:
        kinds = list(dict.fromkeys(kind for one in outputs for kind in one["shares"]))
        head = ("output", "verdict", "of its budget", *kinds, "all together", "flips", "worst case")
        yield table(head, (_output(one, kinds) for one in outputs), right="|".join((*head[2:-2], "flips")))
        yield note(
            "All together: the error of all elements, in units of the model's own rounding. Flips: indices that "
            "differ, and point at a value that is the same up to rounding."
        )
        yield tag("h3", "The worst element")
        head = ("output", "at", "got", "want", "error", "it may be", "why")
        yield table(head, map(_element, outputs), right="got|want|error|it may be")
    yield from _promises(outputs)
    for told in verdict["notes"]:
        yield note(f"Note: {told}")
    if reference is not None:
        words_of_it = (
            f"{reference['producer']}, held against float64; seed {reference['seed']}; effort {reference['effort']}"
        )
        yield tag("p", f"{words_of_it}; {reference['seconds']:.2f} s. Cases: {', '.join(reference['cases'])}.")


def _rest(left: int, what: str) -> str:
    return f" {left} more {what} are in the table." if left > 0 else ""


def _output(output: Mapping[str, Any], kinds: Sequence[str]) -> tuple[object, ...]:
    shares = output["shares"]
    return (
        tag("code", output["output"]),
        marked("good" if output["passed"] else "bad", words.mark(output)),
        words.percent(output["used"]),
        *(words.percent(shares[kind]) if kind in shares else "" for kind in kinds),
        f"{float(output['rms']):.3g}",
        output["flips"],
        output["case"],
    )


def _element(output: Mapping[str, Any]) -> tuple[object, ...]:
    worst = output["worst"]
    values = (
        (str(list(worst["index"])), *(f"{float(worst[key]):.9g}" for key in ("got", "want"))) if worst else ("",) * 3
    )
    return (
        tag("code", output["output"]),
        *values,
        f"{float(output['error']):.3g}",
        f"{float(output['budget']):.3g}",
        output["why"],
    )


def _promises(outputs: Sequence[Mapping[str, Any]]) -> Iterator[Markup]:
    rows = [
        (
            tag("code", output["output"]),
            tag("code", promise["text"]),
            marked("good", "kept") if promise["passed"] else marked("bad", "BROKEN"),
            f"{float(promise['worst']):.6g}",
            promise["case"],
            f"{float(promise['mean']):.6g}",
        )
        for output in outputs
        for promise in output["promises"]
    ]
    if rows:
        yield tag("p", "What was asked for in place of the error budget:")
        yield table(("output", "asked for", "", "worst case", "which", "mean"), rows, right="worst case|mean")


def _edges(edges: Sequence[Mapping[str, Any]]) -> Iterator[Markup]:
    yield tag("p", "Data at the edge of what a model is made for, and what becomes of it.")
    rows = [
        (
            edge["probe"],
            tag("code", edge["output"]),
            edge["wanted"],
            marked("good", "the same") if edge["same"] else marked("warn", f"differs: {words.edge_how(edge)}"),
        )
        for edge in edges
    ]
    yield table(("probe", "output", "PyTorch gives", "here"), rows)


# -- the way there ----------------------------------------------------------------------------------------------


def _layers(layers: Mapping[str, Any] | None) -> Iterator[Markup]:
    if layers is None:
        yield note(
            "The values inside the model were not looked at: --layers does that, and takes about one more compilation."
        )
        return
    places, runs = layers["places"], layers["errors"]
    yield tag("p", layers["told"])
    if not places:
        return
    titles = [place["module"] or place["value"] for place in places]
    errors = {who: [float(value) for value in values] for who, values in runs.items()}
    yield figure(
        plots.layers("depth", titles, errors),
        "The error of all values at a place, relative to their size, both against float64.",
    )
    head = ("", "module", "operator", "line", "value", *(f"{who}: error" for who in errors))
    rows = [
        (
            number,
            tag("code", place["module"]),
            place["operator"],
            place["line"],
            tag("code", place["value"]),
            *(f"{values[number - 1]:.3g}" for values in errors.values()),
        )
        for number, place in enumerate(places, 1)
    ]
    yield table(head, rows, right="|".join(head[5:]))


def _precision(low: Mapping[str, Any]) -> Iterator[Markup]:
    """What became of each layer, and whether the runtime computes the graph that says so."""
    yield tag("p", f"{precision.summary(low)}. Method: {low['method']}.")
    fidelity = low["fidelity"]
    if fidelity is not None:
        same = marked("good", "yes") if fidelity["status"] == "passed" else marked("bad", fidelity["status"])
        yield tag("p", "The runtime computes the graph in lower precision as it is written: ", same)
    worst = sorted((layer for layer in low["layers"] if layer["error"]), key=lambda layer: -layer["error"])
    if worst:
        bars = [plots.Bar(layer["name"], 100 * layer["error"], f"{layer['error']:.2%}") for layer in worst]
        yield figure(
            plots.bars("lowered", "What lower precision changes in each layer", "% of its output", bars[: plots.MOST]),
            f"What the new weights change in a layer's output.{_rest(len(bars) - plots.MOST, 'layers')}",
        )
    head, rows = precision.layers(low)
    yield table(head, rows, right="bits|weights|error so far")


def _passes(manifest: Manifest) -> Iterator[Markup]:
    records = manifest["passes"]
    steps = [
        plots.Step(
            record["name"],
            (record["nodes_before"], record["nodes_after"]),
            (record["bytes_before"], record["bytes_after"]),
        )
        for record in records
        if record["modified"]
    ]
    moving = [step for step in steps if step.nodes[0] != step.nodes[1] or step.bytes[0] != step.bytes[1]][: plots.MOST]
    first, last = records[0], records[-1]
    weights = words.change(first["bytes_before"], last["bytes_after"])
    yield tag(
        "p",
        f"{first['nodes_before']} nodes became {last['nodes_after']}; weights: {weights}; "
        f"{sum(record['seconds'] for record in records):.2f} s in {len(records)} passes, "
        f"of which {len(steps)} changed something.",
    )
    if moving:
        yield figure(
            plots.passes("passfall", moving),
            "Each pass that changed how many nodes or bytes there are, from top to bottom.",
        )
    head = ("pass", "nodes before", "after", "weights before", "bytes after", "ms", "operators", "declined")
    rows = [
        (
            tag("code", record["name"]),
            record["nodes_before"],
            record["nodes_after"],
            record["bytes_before"],
            record["bytes_after"],
            f"{1000 * record['seconds']:.1f}",
            changes(record["operators"]),
            _declined(record["declined"]),
        )
        for record in records
        if record["modified"] or record["declined"]
    ]
    yield table(head, rows, right="nodes before|after|weights before|bytes after|ms")
    ordered = sorted(manifest["operators"].items(), key=lambda item: (-item[1], item[0]))
    yield tag("h3", "Operators of the optimized graph")
    yield table(("operator", "nodes"), [(tag("code", name), count) for name, count in ordered], right="nodes")


def _declined(reasons: Sequence[str]) -> object:
    if not reasons:
        return ""
    return tag("details", tag("summary", f"{len(reasons)} places"), join(*(tag("div", reason) for reason in reasons)))


def _interface(signature: Mapping[str, Any]) -> Markup:
    rows = [
        (kind, tag("code", spec["name"]), spec["dtype"], words.dims(spec["dims"]))
        for kind, specs in (("input", signature["inputs"]), ("output", signature["outputs"]))
        for spec in specs
    ]
    return table(("", "name", "dtype", "dims"), rows)


def _origin(source: Mapping[str, Any]) -> Markup:
    return pairs(
        [
            ("source", tag("code", source["path"])),
            ("format", f"{source['format']}, through {source['route']}"),
            ("sha256", tag("code", source["sha256"]) if source["sha256"] else "none (a live object)"),
            *((name, str(value)) for name, value in source["facts"].items() if value),
        ]
    )


def _why(choice: Mapping[str, Any]) -> Iterator[Markup]:
    yield tag("p", auto.sentence(choice))
    for warning in choice["warnings"]:
        yield tag("p", marked("bad", warning))
    rows = [(name, why) for name, why in choice["refused"].items()]
    rows += [(name, why if isinstance(why, str) else why["message"]) for name, why in choice.get("failed", {}).items()]
    if rows:
        yield table(("not chosen", "why"), rows)
