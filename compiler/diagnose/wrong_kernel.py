"""The smallest part of a graph that the target computes wrongly.

A value in the midst of a graph that becomes an output changes what is fused. So the graph is cut in two: the evaluator
computes the first part, the target the rest. Where the rest is wrong from one node on, and right from the next, that
node is in the fault. It is tried alone, with as many of those that follow as it takes, and what is not needed goes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import onnx_ir as ir

from compiler.contracts import Array, Arrays
from compiler.diagnose.cut import given_to, handed_on, piece, reads, slice_of
from compiler.diagnose.finding import Finding
from compiler.diagnose.question import Question
from compiler.diagnose.runtime import Runtime
from compiler.diagnose.search import Clock, narrow, reduce
from compiler.diagnose.values import Truth
from compiler.diagnose.wrong_places import GRAPH
from compiler.verdicts import OutputVerdict


class KernelSearch:
    """`truth` are the graph's right values on the one case that is asked."""

    def __init__(self, model: ir.Model, truth: Truth, question: Question, runtime: Runtime, clock: Clock) -> None:
        self._model = model
        self._nodes = list(model.graph)
        self._question = question
        self._runtime = runtime
        self._clock = clock
        self._inputs = question.case.inputs
        self._known = {**truth.plain, **self._inputs}
        self._truth = truth
        self._of_sizes = _of_sizes(model.graph)
        self._dims: Collection[str] = ()  # dims that stay dynamic in pieces
        self.notes: list[str] = []

    def find(self) -> Finding | None:
        """None where the target computes the whole graph rightly here."""
        if not self._fails_whole():
            return None
        count = len(self._nodes)
        right, wrong = narrow(count, 0, self._fails_from)
        return self._alone(self._nodes[wrong:right]) or self._with_followers(wrong, right) or self._rest(wrong)

    def _fails_whole(self) -> bool:
        """With every size fixed if that shows it, which is simpler; else with the dims as they are."""
        for dims in ((), tuple(self._runtime.dims)):
            self._dims = dims
            if self._fails_from(0):
                return True
        return False

    def _fails_from(self, start: int) -> bool | None:
        """Whether the outputs are wrong when the target computes what comes from this node on."""
        if self._clock.over():
            return None
        rest = self._nodes[start:]
        outputs = _made_by(rest, [str(value.name) for value in self._model.graph.outputs])
        answer = self._run(_needed(self._model.graph, rest, outputs), outputs)
        return None if answer is None else self._question.wrong(answer[1]) is not None

    def _run(self, nodes: Sequence[ir.Node], outputs: Collection[str]) -> tuple[ir.Model, dict[str, Array]] | None:
        given = [str(value.name) for value in given_to(nodes)]
        if not outputs or any(name not in self._known for name in given):
            return None
        model = piece(self._model, nodes, outputs, self._known, self._dims)
        _bake(model, self._of_sizes, self._known)
        answer = self._runtime(model, {str(value.name): self._known[str(value.name)] for value in model.graph.inputs})
        return None if answer is None else (model, answer)

    # -- a piece by itself ------------------------------------------------------------------------------------------

    def _judge(self, nodes: Sequence[ir.Node]) -> tuple[ir.Model, dict[str, Array], Mapping[str, OutputVerdict]] | None:
        """What the target makes of these nodes on right values; None where that cannot be told, or is right."""
        outputs = [name for value in handed_on(self._model.graph, nodes) if (name := str(value.name)) in self._truth]
        found = self._run(nodes, outputs)
        wrong = self._truth.wrong(found[1]) if found is not None else {}
        return (*found, wrong) if found is not None and wrong else None

    def _still_wrong(self, nodes: Sequence[ir.Node]) -> Sequence[ir.Node] | None:
        """Those of the nodes that the worst result needs, if they are wrong without the others."""
        judged = None if self._clock.over() else self._judge(nodes)
        if judged is None:
            return None
        needed = _needed(self._model.graph, nodes, [_worst(judged[2])])
        return nodes if len(needed) == len(nodes) or self._judge(needed) is None else needed

    def _alone(self, nodes: Sequence[ir.Node]) -> Finding | None:
        wrong = self._still_wrong(nodes)
        return None if wrong is None else self._finding(reduce(wrong, self._still_wrong))

    def _with_followers(self, wrong: int, right: int) -> Finding | None:
        """The first nodes are wrong only together with some that follow."""
        behind = _behind(self._nodes[wrong:], self._nodes[wrong:right])

        def fails_up_to(stop: int) -> bool | None:
            if self._clock.over():
                return None
            return self._judge(behind[:stop]) is not None

        _, stop = narrow(right - wrong, len(behind), fails_up_to)
        return self._alone(behind[:stop])

    def _rest(self, wrong: int) -> Finding | None:
        """All that comes from the first node on, by what the model's outputs become of it."""
        outputs = [str(value.name) for value in self._model.graph.outputs]
        nodes = _needed(self._model.graph, self._nodes[wrong:], _made_by(self._nodes[wrong:], outputs))
        found = self._run(nodes, _made_by(nodes, outputs))
        verdict = None if found is None else self._question.wrong(found[1])
        if found is None or verdict is None:
            return None
        self.notes.append("no smaller piece could be shown to be wrong by itself")
        case = self._question.case
        return Finding(
            nodes,
            verdict,
            {str(value.name): self._known[str(value.name)] for value in found[0].graph.inputs},
            Truth(case.outputs, case.oracle).only(found[1].keys()),
            found[1],
            {GRAPH: found[0]},
        )

    def _finding(self, nodes: Sequence[ir.Node]) -> Finding | None:
        judged = self._judge(nodes)
        if judged is None:
            return None
        model, answer, wrong = judged
        name = _worst(wrong)
        return Finding(
            nodes,
            wrong[name],
            {str(value.name): self._known[str(value.name)] for value in model.graph.inputs},
            self._truth.only(answer.keys()),
            answer,
            {GRAPH: model},
            error_in=self._error_in(nodes),
        )

    def _error_in(self, nodes: Sequence[ir.Node]) -> float | None:
        """How far off the piece's inputs are when the target computes them from the model's own."""
        names = [name for value in given_to(nodes) if (name := str(value.name)) in self._truth]
        names = [name for name in names if name not in self._inputs]
        found = self._run(_needed(self._model.graph, self._nodes, names), names) if names else None
        return None if found is None else self._truth.distance(found[1])


def _made_by(nodes: Iterable[ir.Node], names: Iterable[str]) -> list[str]:
    own = {value.name for node in nodes for value in node.outputs}
    return [name for name in names if name in own]


def _worst(wrong: Mapping[str, OutputVerdict]) -> str:
    return max(wrong, key=lambda name: wrong[name].used)


def _needed(graph: ir.Graph, nodes: Iterable[ir.Node], outputs: Collection[str]) -> list[ir.Node]:
    """Those of the nodes that the outputs need."""
    inside = set(nodes)
    stops = {str(value.name) for node in graph if node not in inside for value in node.outputs}
    return slice_of(graph, outputs, stops)


def _behind(nodes: Sequence[ir.Node], first: Sequence[ir.Node]) -> list[ir.Node]:
    """The first nodes, and those of the others that depend on them."""
    found = dict.fromkeys(first)
    reached = {value for node in first for value in node.outputs}
    for node in nodes:
        if node not in found and not reached.isdisjoint(reads(node)):
            found[node] = None
            reached.update(node.outputs)
    return list(found)


def _of_sizes(graph: ir.Graph) -> set[str]:
    """Values that depend on the sizes of the inputs only. A cut must not turn them into data."""
    data = set(graph.inputs)
    for node in graph:
        if node.op_type not in ("Shape", "Size") and not data.isdisjoint(reads(node)):
            data.update(node.outputs)
    return {str(value.name) for node in graph for value in node.outputs if value not in data}


def _bake(model: ir.Model, names: Collection[str], known: Arrays) -> None:
    """Inputs of these names become constants."""
    for value in [value for value in model.graph.inputs if value.name in names]:
        model.graph.inputs.remove(value)
        value.const_value = ir.tensor(known[str(value.name)], name=value.name)
        model.graph.register_initializer(value)
