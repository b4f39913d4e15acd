"""What a user may ask for in place of the error budget: `--contract`, and `--atol` with `--rtol`.

A contract decides for the outputs that it speaks of, in every case. The budget is computed and told all the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from compiler.cases import Case
from compiler.contracts import Array, Arrays, Signature
from compiler.errors import CompileError, UsageError, did_you_mean
from compiler.unit import Floats
from compiler.validate.metrics import METRICS, Metric
from compiler.validate.units import epsilon_of, real
from compiler.verdicts import Clause, OutputVerdict, Promise, Terms

Function = Callable[[Array, Array], Any]
Pair = tuple[Case, Arrays]

_BOUND = re.compile(r"(?P<subject>.*?)\s*(?P<sign>[<>]=?|==?)\s*(?P<bound>[^<>=]*)")
_FILE = re.compile(r"(?:(?P<output>.+):)?(?P<measure>[^:]+\.py:[\w.]+)")
_NAMED = re.compile(r"(?:(?P<output>.+):)?(?P<measure>[^:]+)")

# -- what was asked for -----------------------------------------------------------------------------------------


def parse(text: str, load: Callable[[str], Function]) -> Clause:
    """`[OUTPUT:]METRIC>=NUMBER` or `[OUTPUT:]FILE.PY:NAME[>=NUMBER]`; `load` finds the user's own function."""
    bounded = _BOUND.fullmatch(text.strip())
    subject = bounded["subject"] if bounded else text.strip()
    if own := _FILE.fullmatch(subject):
        function = load(own["measure"])
        if bounded is None:
            return Clause(text, own["measure"], own["output"], function=function)
        sign, bound = _sign(text, bounded["sign"]), _number(text, bounded["bound"])
        return Clause(text, own["measure"], own["output"], sign, bound, function)
    named = _NAMED.fullmatch(subject)
    if named is None:
        raise bad(f"cannot read '{text}'", hint=f"write {', '.join(one.example for one in METRICS.values())}")
    metric = METRICS.get(named["measure"])
    if metric is None:
        known = f"one of {', '.join(METRICS)}, or a function of yours: file.py:name"
        raise bad(f"there is no metric '{named['measure']}'", hint=did_you_mean(named["measure"], METRICS) or known)
    if bounded is None:
        raise bad(f"'{text}' says not what {named['measure']} has to be", hint=f"write {metric.example}")
    sign, bound = _sign(text, bounded["sign"]), _number(text, bounded["bound"])
    if sign != metric.sign:
        better = "larger" if metric.sign == ">=" else "smaller"
        raise bad(f"'{text}' is the wrong way round: {named['measure']} is better the {better} it is")
    return Clause(text, named["measure"], named["output"], sign, bound)


def bad(message: str, *, why: str | None = None, hint: str | None = None) -> UsageError:
    return UsageError("bad-contract", message, where="--contract", why=why, hint=hint)


def _sign(text: str, sign: str) -> Literal[">=", "<="]:
    if sign == ">=":
        return ">="
    if sign == "<=":
        return "<="
    raise bad(f"'{text}' compares with {sign}", hint="write >= or <=")


def _number(text: str, bound: str) -> float:
    try:
        value = float(bound)
    except ValueError:
        value = math.nan
    if math.isfinite(value):
        return value
    raise bad(f"'{bound}' in '{text}' is no number")


def tolerance(name: str, value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise UsageError("bad-option", f"{value} is no tolerance", where=f"--{name}", hint=f"--{name} 1e-4")
    return value


def refuse_unheld(terms: Terms) -> None:
    """For an artifact that is not verified."""
    if terms.contract or terms.atol is not None or terms.rtol is not None:
        asked = "--contract" if terms.contract else "--atol and --rtol"
        raise UsageError("bad-option", f"{asked} cannot be kept with --no-verify", hint="leave one of them away")


def fits(terms: Terms, signature: Signature) -> None:
    """Refuse at once what can be seen to make no sense for this model."""
    names = [spec.name for spec in signature.outputs]
    floats = [spec for spec in signature.outputs if "float" in spec.dtype]
    for clause in terms.contract:
        if clause.output is not None and clause.output not in names:
            hint = did_you_mean(clause.output, names) or f"it has {', '.join(names)}"
            raise bad(f"the model has no output '{clause.output}'", hint=hint)
        if clause.output is None and not floats:
            why = "a contract that names no output holds for every float output, and the model has none"
            raise bad(f"'{clause.text}' speaks of nothing", why=why, hint=f"{names[0]}:equal>=0.99")
        metric = METRICS.get(clause.measure)
        for spec in signature.outputs:
            meant = spec.name == clause.output or (clause.output is None and spec in floats)
            if meant and metric is not None and metric.classes and (not spec.dims or spec.dims[-1] in (0, 1)):
                raise _needs_classes(clause, spec.name, "x".join(map(str, spec.dims)) or "a single number")


def _needs_classes(clause: Clause, output: str, shape: str) -> UsageError:
    return bad(
        f"{clause.measure} cannot be told of '{output}'",
        why=f"it compares the entries of the last axis, of which there must be two or more, and '{output}' is {shape}",
        hint=None if clause.output else f"name the output that is meant: OUTPUT:{clause.text}",
    )


def clauses_for(terms: Terms, output: str, array: Array) -> list[Clause]:
    """Those that speak of this output: by its name, or of all float outputs."""
    of_all = epsilon_of(array) is not None
    return [clause for clause in terms.contract if clause.output == output or (clause.output is None and of_all)]


# -- whether it holds -------------------------------------------------------------------------------------------


def held_to(terms: Terms, verdict: OutputVerdict, pairs: Sequence[Pair]) -> OutputVerdict:
    """The budget's verdict on an output, or in its place that of the contract or tolerance that was asked for."""
    name = verdict.output
    example = pairs[0][0].outputs[name]
    clauses = clauses_for(terms, name, example)
    if clauses:
        return _decided("contract", verdict, [_promise(clause, name, pairs) for clause in clauses])
    if (terms.atol is None and terms.rtol is None) or epsilon_of(example) is None:
        return verdict
    return _decided("tolerance", verdict, [_within(terms.atol or 0.0, terms.rtol or 0.0, name, pairs)])


def _decided(
    by: Literal["contract", "tolerance"], verdict: OutputVerdict, promises: Sequence[Promise]
) -> OutputVerdict:
    broken = [promise for promise in promises if not promise.passed]
    why = f"{told(broken[0])}, and that is not what was asked for" if broken else verdict.why
    return replace(verdict, passed=not broken, why=why, decided=by, promises=tuple(promises))


def told(promise: Promise) -> str:
    return f"{promise.text}: {promise.worst:.6g} at worst ({promise.case}), {promise.mean:.6g} on average"


def _promise(clause: Clause, name: str, pairs: Sequence[Pair]) -> Promise:
    values = [_measured(clause, name, answer[name], case.oracle[name]) for case, answer in pairs]
    smallest_is_worst = clause.sign != "<="
    worst = _worst(values, smallest=smallest_is_worst)
    value = values[worst]
    good = {">=": value >= clause.bound, "<=": value <= clause.bound, "": value == 1.0}[clause.sign]
    return Promise(clause.text, good, value, _mean(values), pairs[worst][0].name)


def _worst(values: Sequence[float], *, smallest: bool) -> int:
    """NaN is worse than anything."""
    toward = -1 if smallest else 1
    return max(range(len(values)), key=lambda at: (math.isnan(values[at]), toward * values[at]))


def _mean(values: Sequence[float]) -> float:
    with np.errstate(invalid="ignore"):
        return float(np.mean(values))


def _measured(clause: Clause, name: str, got: Array, want: Array) -> float:
    if clause.function is not None:
        return _own(clause, clause.function(got.copy(), want.copy()))
    metric: Metric = METRICS[clause.measure]
    if metric.classes and (want.ndim == 0 or want.shape[-1] < 2):
        raise _needs_classes(clause, name, "x".join(map(str, want.shape)) or "a single number")
    return metric.compute(got, want)


def _own(clause: Clause, result: Any) -> float:
    """What the user's function returned: with a bound a number, without one a truth."""
    value = np.asarray(result)
    if value.ndim == 0 and value.dtype.kind == "b" and not clause.sign:
        return float(value)
    if value.ndim == 0 and value.dtype.kind in "iuf" and clause.sign:
        return float(value)
    wanted = "a number, because the contract has a bound for it" if clause.sign else "True or False"
    shown = type(result).__name__ if value.ndim == 0 else f"{type(result).__name__} of shape {value.shape}"
    raise CompileError(
        "contract-result",
        f"{clause.measure} does not say whether the contract holds",
        why=f"it returned {shown}, and should return {wanted}",
        hint=f"--contract '{clause.measure}>=0.99' for a number; without a bound for True or False",
    )


def _within(atol: float, rtol: float, name: str, pairs: Sequence[Pair]) -> Promise:
    """How much of the tolerance the worst element takes up."""
    shares = [_share(atol, rtol, real(answer[name]), real(case.oracle[name])) for case, answer in pairs]
    worst = _worst(shares, smallest=False)
    text = f"the share of --atol {atol:g} --rtol {rtol:g}"
    return Promise(text, shares[worst] <= 1.0, shares[worst], _mean(shares), pairs[worst][0].name)


def _share(atol: float, rtol: float, got: Array, want: Array) -> float:
    wanted: Floats = want.astype(np.float64)
    finite = np.isfinite(wanted)
    error = np.abs(got.astype(np.float64)[finite] - wanted[finite])
    allowed = atol + rtol * np.abs(wanted[finite])
    share = np.divide(error, allowed, out=np.where(error > 0, np.inf, 0.0), where=allowed > 0)
    return float(np.max(share, initial=0.0))


# -- what is said of it -----------------------------------------------------------------------------------------


def notes(outputs: Iterable[OutputVerdict]) -> Iterator[str]:
    """That something else than the budget decided is said aloud, for every output of which it is so."""
    for verdict in outputs:
        if verdict.decided == "budget":
            continue
        asked = "a contract" if verdict.decided == "contract" else "a tolerance"
        budget = "is within it" if verdict.used <= 1 else f"uses {verdict.used:.3g} times what it allows"
        promises = "; ".join(map(told, verdict.promises))
        yield f"'{verdict.output}' is held to {asked} in place of the error budget ({promises}); it {budget}"
