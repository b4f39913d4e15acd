"""Where the numbers part: the exporter, a pass, or the runtime; and the smallest piece that shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir

from compiler.cases import Otherwise, Reference
from compiler.contracts import Inside, Progress
from compiler.diagnose import evidence
from compiler.diagnose.diagnosis import Diagnosis, Judged, Stage, together
from compiler.diagnose.finding import Finding
from compiler.diagnose.question import Question, Told, questions
from compiler.diagnose.route import Change, Route
from compiler.diagnose.runtime import Runtime
from compiler.diagnose.search import Clock, narrow
from compiler.diagnose.values import Truth, made, truth_of
from compiler.diagnose.wrong_kernel import KernelSearch
from compiler.diagnose.wrong_pass import find_pass
from compiler.diagnose.wrong_places import find
from compiler.ir.provenance import operation
from compiler.verdicts import Terms, Verdict


@dataclass(frozen=True)
class Suspects:
    """Everyone who had a hand in it. `runtime` is None where the target cannot run here."""

    target: str
    version: str
    reference: Reference
    verdict: Verdict
    terms: Terms
    route: Route
    inside: Inside | None
    runtime: Runtime | None
    otherwise: Otherwise | None = None  # what the model computes with the other choice of a near decision


def bisect(suspects: Suspects, folder: Path, clock: Clock, progress: Progress) -> Diagnosis:
    """The stage, and in it the place; what shows it is written to `folder`."""
    diagnosis, finding = _Bisection(suspects, clock, progress).run()
    if clock.over():
        diagnosis = replace(diagnosis, notes=(*diagnosis.notes, "the time was up before the search had ended"))
    if finding is None:
        return diagnosis
    diagnosis = replace(diagnosis.with_finding(finding), folder=str(folder))
    evidence.write(folder, diagnosis, finding, suspects.target)
    return diagnosis


Answer = tuple[Diagnosis, Finding | None]


class _Bisection:
    def __init__(self, suspects: Suspects, clock: Clock, progress: Progress) -> None:
        self._on = suspects
        self._clock = clock
        self._progress = progress
        self._stages: list[Judged] = []

    def run(self) -> Answer:
        on = self._on
        asked = questions(on.reference, on.verdict, on.terms, on.otherwise, self._clock)
        if self._on.verdict.outputs and all(found.passed for found in self._on.verdict.outputs):
            sentence = "Every ordinary number is right; what differs is the behaviour at NaN, infinities and the like."
            return self._answer("unknown", self._on.version, sentence, asked[0]), None
        route = self._on.route
        self._progress.stage("bisect", "the captured graph, on plumbline's evaluator")
        told, question = self._asked("captured", route.start, asked)
        if told.right is None:
            sentence = "Where the difference begins cannot be told: plumbline's evaluator cannot run the graph."
            return self._answer("unknown", "", sentence, question), None
        if not told.right:
            return self._exporter(question)
        self._progress.stage("bisect", "the graph that is built from")
        lowered, changes = route.walk()
        judged = len(changes)
        if asked[0].ask(lowered).right is None:
            judged, _ = narrow(0, judged, lambda count: asked[0].ask(route.walk(count)[0]).right is None)
        known = lowered if judged == len(changes) else route.walk(judged)[0]
        told, question = self._asked("passes", known, asked)
        if not told.right:
            return self._pass(question, judged)
        return self._runtime(lowered, known, changes[judged:], asked)

    def _asked(self, stage: str, model: ir.Model, asked: Sequence[Question]) -> tuple[Told, Question]:
        """The first answer that is not right, or the last."""
        for question in asked:
            told = question.ask(model)
            if not told.right:
                break
        words = told.words or f"{len(asked)} cases on plumbline's evaluator"
        self._stages.append(Judged(stage, told.right, words))
        return told, question

    def _answer(self, stage: Stage, culprit: str, sentence: str, question: Question, *notes: str) -> Diagnosis:
        return Diagnosis(
            stage,
            culprit,
            sentence,
            tuple(self._stages),
            question.case.name,
            notes=notes,
        )

    # -- the exporter -----------------------------------------------------------------------------------------------

    def _exporter(self, question: Question) -> Answer:
        self._progress.stage("bisect", "the exporter's nodes, on PyTorch's values")
        inside = self._on.inside
        if inside is None:
            why = "this way of exporting does not tell which values of the graph are which of PyTorch's"
            sentence = "The captured graph is not what PyTorch computes."
            return self._answer("exporter", "the exporter", sentence, question, why), None
        inputs = question.case.inputs
        plain, precise = inside.values(inputs, precise=False), inside.values(inputs, precise=True)
        told = question.told({name: plain[name] for name in question.case.outputs if name in plain})
        words = told.words or "the exported program, run by PyTorch"
        self._stages.insert(0, Judged("traced", told.right, words))
        if not told.right:
            return self._tracing(inside, question)
        model = self._on.route.start
        truth = _comparable(model, Truth(plain, precise))
        finding = find(model, question, truth, truth.plain.keys(), self._clock)
        if finding is None:
            sentence = "torch's exporter: the captured graph is not the exported program."
            note = "every place that can be told is right by itself"
            return self._answer("exporter", "torch.onnx", sentence, question, note), None
        diagnosis = self._answer("exporter", "torch.onnx", "", question).with_finding(finding)
        written, asked = together(diagnosis.nodes), operation(finding.nodes[-1])
        subject = f"{asked} as {written}" if asked else written
        sentence = f"torch's exporter writes {subject}, which does not compute what PyTorch computes."
        return replace(diagnosis, sentence=sentence), finding

    def _tracing(self, inside: Inside, question: Question) -> Answer:
        """The exported program is another one than the model: a branch that was taken while tracing, say."""
        inputs = question.case.inputs
        plain, precise = inside.modules(inputs, precise=False), inside.modules(inputs, precise=True)
        got = inside.exported_modules(inputs)
        names = [name for name in plain if name in got and name in precise]
        wrong = Truth(plain, precise).only(names).wrong({name: got[name] for name in names})
        first = next((name for name in names if name in wrong), None)
        if first is None:
            sentence = "torch.export: the exported program is not the model."
            note = "no module's input or result differs; what is left is the model's own forward"
            return self._answer("exporter", "torch.export", sentence, question, note), None
        line = inside.line(first)
        place = f"{first} ({line})" if line else first
        sentence = f"torch.export: {place} is something else in the exported program than in eager mode."
        right = names[: names.index(first)]
        notes = [f"still right before it: {right[-1]}"] if right else []
        diagnosis = self._answer("exporter", "torch.export", sentence, question, *notes)
        return replace(diagnosis, output=first, why=wrong[first].why), None

    # -- the passes -------------------------------------------------------------------------------------------------

    def _pass(self, question: Question, last: int) -> Answer:
        self._progress.stage("bisect", f"{last} passes that changed something")
        fault = find_pass(self._on.route, last, question, self._clock)
        names = " or ".join(dict.fromkeys(change.name for change in fault.suspects))
        owner = "plumbline's pass" if fault.suspects[0].ours else f"{self._on.target}'s own pass"
        sentence = f"{owner} {names} changes what the model computes."
        hint = f"--passes default,-{fault.suspects[0].name} leaves it out; this is a fault of plumbline"
        diagnosis = self._answer("pass", f"the pass {names}", sentence, question, hint)
        return diagnosis, fault.finding

    # -- the runtime ------------------------------------------------------------------------------------------------

    def _runtime(
        self, lowered: ir.Model, known: ir.Model, unjudged: Sequence[Change], asked: Sequence[Question]
    ) -> Answer:
        runtime, version = self._on.runtime, self._on.version
        notes = [f"the pass {change.name} could not be judged and may be at fault itself" for change in unjudged]
        if runtime is None:
            sentence = "The graph is what the model computes; the target cannot be run here."
            return self._answer("none", "", sentence, asked[0], *notes), None
        self._stages.append(Judged(version, False, _words(self._on.verdict)))
        self._progress.stage("bisect", f"{len(lowered.graph)} nodes on {version}")
        for question in asked:
            truth = truth_of(known, question.case.inputs)
            search = KernelSearch(lowered, truth, question, runtime, self._clock)
            finding = search.find()
            if finding is not None:
                doubts = [] if _standard(finding.nodes) else notes
                diagnosis = self._answer("runtime", version, "", question, *doubts, *search.notes)
                diagnosis = diagnosis.with_finding(finding)
                sentence = f"{version} computes {together(diagnosis.nodes)} wrongly."
                return replace(diagnosis, sentence=sentence), finding
        if self._clock.over():
            sentence = f"{version} is given the right graph, and computes something else."
        else:
            sentence = f"{version} is given the right graph, and what it does wrong does not show again."
            notes.append("in a fresh session, on one case alone, the numbers are within their budget")
        return self._answer("runtime", version, sentence, asked[0], *notes), None


def _standard(nodes: Sequence[ir.Node]) -> bool:
    """Whether all are ONNX's own operators, which mean the same before and after the passes that bring others."""
    return all(node.domain in ("", "ai.onnx.ml") for node in nodes)


def _comparable(model: ir.Model, truth: Truth) -> Truth:
    """Of PyTorch's values those that the graph has in the same form."""
    names = []
    for value in made(model.graph):
        array = truth.plain.get(str(value.name))
        same_type = array is not None and value.dtype == ir.DataType.from_numpy(array.dtype)
        if same_type and array is not None and (value.shape is None or len(value.shape) == array.ndim):
            names.append(str(value.name))
    return truth.only([name for name in names if name in truth.precise])


def _words(verdict: Verdict) -> str:
    worst = max((found for found in verdict.outputs if not found.passed), key=lambda found: found.used, default=None)
    return "" if worst is None else f"'{worst.output}': {worst.why}"
