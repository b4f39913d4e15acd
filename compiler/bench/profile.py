"""Where the time of a call goes: what the runtimes' own profilers tell, in the words of the user's model.

A runtime speaks of what it made of the graph. Each of its steps is led back to the nodes of the graph that was built
from, so that the same operator and the same module can be found in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from compiler.bench import work
from compiler.bench.peaks import Peaks, peaks
from compiler.bench.run import Plan
from compiler.bench.setting import Setting
from compiler.bench.subject import Candidate, Subject
from compiler.bench.work import Graph, Node
from compiler.contracts import Arrays, OperatorTime, Progress
from compiler.errors import PlumblineError
from compiler.measure.contender import Contender

CALLS = 30
OF_THE_RUNTIME = "(the runtime's own)"


@dataclass(frozen=True)
class Step:
    """One step of a runtime, and what it is of the model."""

    name: str  # the runtime's
    kind: str  # the runtime's word
    operator: str  # ours
    module: str
    nodes: tuple[str, ...]
    seconds: float
    flops: int | None = None
    bytes: int | None = None
    least: float | None = None  # seconds that its work takes at this machine's peaks; None where nothing is known


@dataclass(frozen=True)
class Share:
    """Steps of one kind together."""

    name: str
    steps: int
    seconds: float
    flops: int
    bytes: int
    least: float | None

    @property
    def roofline(self) -> float | None:
        """The share of the peak that is reached."""
        return self.least / self.seconds if self.least is not None and self.seconds else None


@dataclass(frozen=True)
class Profile:
    """One contender at one setting."""

    contender: str
    steps: Sequence[Step] = ()
    failure: str = ""

    def by(self, key: Callable[[Step], str]) -> list[Share]:
        """The longest first."""
        groups: dict[str, list[Step]] = {}
        for step in self.steps:
            groups.setdefault(key(step), []).append(step)
        return sorted((_share(name, steps) for name, steps in groups.items()), key=lambda share: -share.seconds)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.contender,
            "failure": self.failure,
            "total": _to_json(_share("", self.steps)),
            "by_operator": [_to_json(share) for share in self.by(lambda step: step.operator)],
            "by_module": [_to_json(share) for share in self.by(lambda step: step.module)],
            "steps": [asdict(step) for step in self.steps],
        }


@dataclass(frozen=True)
class Profiles:
    """Every contender at one setting, and what they are held against."""

    setting: Setting
    peaks: Peaks
    profiles: Sequence[Profile]

    def to_json(self) -> dict[str, Any]:
        return {
            "threads": self.setting.threads,
            "sizes": dict(self.setting.sizes),
            "peaks": asdict(self.peaks),
            "profiles": [profile.to_json() for profile in self.profiles],
        }


def profiled(subject: Subject, setting: Setting, plan: Plan, progress: Progress) -> Profiles:
    """Each in a process of its own, one after the other: a profile has no use for turns."""
    inputs = plan.data if plan.data is not None else subject.plan.inputs(dict(setting.sizes), 0)
    told = {
        name: _told(name, candidate, inputs, setting, plan, progress) for name, candidate in subject.candidates.items()
    }
    graphs = {name: work.read(candidate.bundle.folder, setting.sizes) for name, candidate in subject.candidates.items()}
    made = {
        name: times if isinstance(times, Profile) else Profile(name, steps(times, graphs[name]))
        for name, times in told.items()
    }
    types = {graph.work(graph.nodes).dtype for graph in graphs.values() if graph is not None and graph.nodes}
    progress.stage("peaks", f"of this machine, {setting.threads} thread{'s' * (setting.threads != 1)}")
    found = peaks(setting.threads, types, plan.cores)
    return Profiles(setting, found, [_held(profile, graphs[name], found) for name, profile in made.items()])


def _told(
    name: str, candidate: Candidate, inputs: Arrays, setting: Setting, plan: Plan, progress: Progress
) -> Sequence[OperatorTime] | Profile:
    progress.stage("profile", f"{name}, {setting}")
    options = {"threads": setting.threads, **candidate.options}
    words = ("compiler.bench.runnables:operator_times", str(candidate.bundle.folder), inputs, options, CALLS)
    try:
        environment = {"OMP_NUM_THREADS": str(setting.threads)}
        with Contender(name, *words, environment=environment, cores=plan.cores) as contender:
            times: Sequence[OperatorTime] = contender.answer()
    except PlumblineError as error:
        return Profile(name, failure=f"{error.message}: {error.why}" if error.why else error.message)
    return times


# -- from a runtime's words to the model's ---------------------------------------------------------------------


def steps(times: Sequence[OperatorTime], graph: Graph | None) -> list[Step]:
    return _with_neighbours([_step(time, graph) for time in times])


def _step(time: OperatorTime, graph: Graph | None) -> Step:
    named = [graph.by_name[name] for name in time.nodes if name in graph.by_name] if graph is not None else []
    nodes = list({node.name: node for node in named}.values())
    if graph is None or not nodes:
        operator = _closest(time.operator, {node.operator for node in graph.nodes}) if graph is not None else None
        return Step(time.name, time.operator, operator or time.operator, "", (), time.seconds, None, time.bytes)
    done, main = graph.work(nodes), _main(nodes, graph)
    return Step(
        time.name,
        time.operator,
        main.operator,
        main.module or "",
        tuple(node.name for node in nodes),
        time.seconds,
        done.flops,
        done.bytes if done.bytes is not None else time.bytes,
    )


def _main(nodes: Sequence[Node], graph: Graph) -> Node:
    """The one with the most to multiply; without any, the one that the others are made for."""
    heaviest = max(nodes, key=lambda node: graph.flops(node) or 0)
    if graph.flops(heaviest):
        return heaviest
    read = {name for node in nodes for name in node.inputs}
    return next((node for node in nodes if not read & set(node.outputs)), nodes[0])


def _closest(word: str, operators: Iterable[str]) -> str | None:
    """The operator that a kernel's name begins with: layer_norm_add is LayerNormalization."""
    parts = word.lower().split("_")
    for length in range(len(parts), 0, -1):
        start = "".join(parts[:length])
        for name in sorted(operators):
            plain = name.lower()
            if plain in (start, f"reduce{start}") or (len(start) > 4 and plain.startswith(start)):
                return name
    return None


def _with_neighbours(found: list[Step]) -> list[Step]:
    """What is known of no module lies between two that are: an attention between the layers that it belongs to."""
    known = [place for place, step in enumerate(found) if step.nodes]
    placed = []
    for place, step in enumerate(found):
        if not step.nodes:
            before = next((found[other].module for other in reversed(known) if other < place), None)
            after = next((found[other].module for other in known if other > place), None)
            modules = [module for module in (before, after) if module is not None]
            step = replace(step, module=common(modules) if modules else OF_THE_RUNTIME)
        placed.append(step)
    return placed


def common(modules: Sequence[str]) -> str:
    """The module that holds them all; "" is the model itself."""
    parts = [module.split(".") for module in modules]
    shared: list[str] = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return ".".join(shared)


# -- against the peaks ------------------------------------------------------------------------------------------


def _held(profile: Profile, graph: Graph | None, best: Peaks) -> Profile:
    return replace(profile, steps=[replace(step, least=_least(step, graph, best)) for step in profile.steps])


def _least(step: Step, graph: Graph | None, best: Peaks) -> float | None:
    if step.bytes is None:
        return None
    dtype = graph.work([graph.by_name[name] for name in step.nodes]).dtype if graph is not None else "float32"
    return best.seconds(step.flops or 0, step.bytes, dtype)


def _share(name: str, those: Sequence[Step]) -> Share:
    """What is not known of a step counts as nothing, so that the share of the peak is rather told too low."""
    known = [step.least for step in those if step.least is not None]
    return Share(
        name,
        len(those),
        sum(step.seconds for step in those),
        sum(step.flops or 0 for step in those),
        sum(step.bytes or 0 for step in those),
        sum(known) if known else None,
    )


def _to_json(share: Share) -> Mapping[str, Any]:
    return {**asdict(share), "roofline": share.roofline}
