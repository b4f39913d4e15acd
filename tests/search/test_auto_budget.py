"""What `--target auto` does where its budget is too short."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from compiler import auto
from compiler.bench.rows import Table
from compiler.bench.run import Plan
from compiler.bench.setting import Setting
from compiler.bench.subject import Candidate, Subject
from compiler.contracts import Progress, SilentProgress
from compiler.errors import UsageError

SETTING = Setting(2, {"batch": 1})


@pytest.mark.parametrize("code", ["budget-too-short", "no-model"])
def test_what_was_built_is_timed_as_it_was_verified(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[str], bool]] = []

    def bench(subject: Subject, _settings: Sequence[Setting], plan: Plan, _progress: Progress) -> Iterator[Table]:
        asked.append((list(subject.candidates), plan.longer))
        if len(asked) == 1:
            raise UsageError(code, "too short")
        yield Table(SETTING, "", [])

    monkeypatch.setattr(auto, "bench", bench)
    bundle: Any = None
    subject = Subject({"tvm": Candidate(bundle), "tvm threads=1": Candidate(bundle, {"threads": 1})}, bundle, None)
    if code == "no-model":
        with pytest.raises(UsageError):
            auto._timed(subject, SETTING, Plan((), (1,), 0.01), SilentProgress())
        return
    auto._timed(subject, SETTING, Plan((), (1,), 0.01), SilentProgress())
    assert asked == [(["tvm", "tvm threads=1"], False), (["tvm"], True)]
