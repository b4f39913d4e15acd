"""Bad input, end to end: one clear error, the right exit code, no traceback, nothing lost and nothing run."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
import torch
from conftest import COMPILE, MLP_INPUT, Cli

from compiler.cli.main import run

TARGET = ["--target", "onnxruntime"]


class Bomb:
    """Unpickling it makes a file where the command runs."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("open('exploded', 'w').close()",))


def text_file(folder: Path) -> str:
    (folder / "model.pt").write_text("this is not a model\n")
    return "model.pt"


def empty_file(folder: Path) -> str:
    (folder / "model.pt2").write_bytes(b"")
    return "model.pt2"


def truncated_zip(folder: Path) -> str:
    torch.save({"w": torch.ones(1000)}, folder / "whole.pt")
    (folder / "model.pt").write_bytes((folder / "whole.pt").read_bytes()[:2000])
    return "model.pt"


def folder_of_nothing(folder: Path) -> str:
    (folder / "model").mkdir()
    (folder / "model" / "notes.txt").write_text("nothing here")
    return "model"


def pickled_bomb(folder: Path) -> str:
    torch.save(Bomb(), folder / "model.pt")
    return "model.pt"


def bare_pickled_bomb(folder: Path) -> str:
    (folder / "model.pt").write_bytes(pickle.dumps(Bomb()))
    return "model.pt"


def program_that_wants_a_pickle(folder: Path) -> str:
    """A .pt2 whose example inputs are a pickle that runs code."""
    exported = torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),))
    torch.export.save(exported, folder / "good.pt2")
    torch.save(Bomb(), folder / "bomb.pt")
    with zipfile.ZipFile(folder / "good.pt2") as good, zipfile.ZipFile(folder / "model.pt2", "w") as bad:
        for member in good.namelist():
            swapped = "sample_inputs" in member
            bad.writestr(member, (folder / "bomb.pt").read_bytes() if swapped else good.read(member))
    return "model.pt2"


def external_data(location: str, length: int) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        (folder.parent / "secret.bin").write_bytes(bytes(64))
        (folder / "weights.bin").write_bytes(bytes(64))
        model = onnx.parser.parse_model(
            '<ir_version: 10, opset_import: ["" : 17]> g (float[4] x) => (float[4] y) <float[4] w> { y = Add(x, w) }'
        )
        del model.graph.value_info[:]
        tensor = model.graph.initializer.add(name="w", dims=[4], data_type=1, data_location=1)
        for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
            tensor.external_data.add(key=key, value=value)
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        return "model.onnx"

    return write


def factory(text: str) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        (folder / "net.py").write_text(text)
        return "net.py:build"

    return write


def bundle_folder(folder: Path) -> str:
    (folder / "model.onnxruntime").mkdir()
    (folder / "model.onnxruntime" / "manifest.json").write_text('{"schema": "plumbline-bundle/1"}')
    return "model.onnxruntime"


# What the file is, the code of the error, the exit code, and what it must say.
FILES: dict[str, tuple[Callable[[Path], str], str, int, str]] = {
    "missing": (lambda folder: "no/such/model.pt", "no-such-file", 2, "there is no folder no/such"),
    "folder": (folder_of_nothing, "not-a-model", 1, "config.json"),
    "truncated zip": (truncated_zip, "truncated-file", 1, "model.pt"),
    "empty": (empty_file, "empty-file", 1, "0 bytes"),
    "text": (text_file, "not-a-model", 1, "this is not a model"),
    "pickle": (pickled_bomb, "untrusted-pickle", 1, "exec"),
    "bare pickle": (bare_pickled_bomb, "not-a-model", 1, "pickle"),
    "pt2 with a pickle": (program_that_wants_a_pickle, "unsafe-file", 1, "exec"),
    "onnx that points up": (external_data("../secret.bin", 16), "unsafe-file", 1, "../secret.bin"),
    "onnx that points anywhere": (external_data("/etc/passwd", 16), "unsafe-file", 1, "/etc/passwd"),
    "onnx past the end": (external_data("weights.bin", 4096), "truncated-file", 1, "weights.bin"),
    "onnx without its data": (external_data("gone.bin", 16), "missing-file", 1, "gone.bin"),
    "a bundle": (bundle_folder, "already-compiled", 2, "compile verify"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_compiled(cli: Cli, tmp_path: Path, name: str) -> None:
    write, code, exit_code, says = FILES[name]
    folder = tmp_path / "here"
    folder.mkdir()
    done = cli(write(folder), *TARGET, cwd=folder)
    assert done.stdout == ""
    assert f"error[{code}]: " in done.stderr
    assert done.returncode == exit_code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "exploded").exists()
    assert not list(folder.rglob("*.partial-*"))


# The same for code that a factory brings along; torch is needed to get there.
FACTORIES: dict[str, tuple[str, str, int, str]] = {
    "raises": ("def build():\n    raise OSError('no weights here')", "factory-raised", 1, "net.py:2"),
    "fails to import": ("import no_such_package\n", "factory-import-failed", 1, "No module named 'no_such_package'"),
    "is no Python": ("def build(:\n", "factory-import-failed", 1, "SyntaxError"),
    "returns nothing": ("def build():\n    pass", "factory-result", 1, "it returned None"),
    "is called otherwise": ("def built():\n    pass", "no-such-factory", 2, "did you mean 'built'?"),
    "wants arguments": ("def build(size):\n    pass", "factory-arguments", 2, "size"),
    "ends the program": ("import sys\nsys.exit(0)", "factory-import-failed", 1, "exit(0)"),
}


@pytest.mark.parametrize("name", FACTORIES)
def test_a_factory_that_does_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    text, code, exit_code, says = FACTORIES[name]
    (tmp_path / "net.py").write_text(text)
    assert run([f"{tmp_path}/net.py:build", *TARGET, "-o", str(tmp_path / "build")]) == exit_code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"error[{code}]: " in printed.err
    assert says in printed.err
    assert not list((tmp_path / "build").iterdir())


def test_a_factory_that_raises_in_a_process_of_its_own(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("def build():\n    raise OSError('no weights here')")
    done = cli("net.py:build", *TARGET)
    assert (done.returncode, done.stdout) == (1, "")
    assert "error[factory-raised]" in done.stderr
    assert "why:   OSError: no weights here" in done.stderr
    assert "Traceback" not in done.stderr


# -- the command line itself ------------------------------------------------------------------------------------

# What is typed, the code of the error, and what it must say. All of these answer before torch is imported.
USAGE: dict[str, tuple[list[str], str, str]] = {
    "a mistyped command": (["verfy", "x"], "unknown-command", "did you mean 'verify'?"),
    "no command and no model": (["something"], "unknown-command", "compile --help"),
    "no target": (["model.pt"], "no-target", "--target onnxruntime"),
    "a mistyped target": (["model.pt", "-t", "onnxruntim"], "unknown-target", "did you mean 'onnxruntime'?"),
    "an unknown option": (["model.pt", *TARGET, "--fast"], "usage", "No such option '--fast'"),
    "a number that is none": (["model.pt", *TARGET, "--seed", "x"], "usage", "'x' is not a valid integer"),
    "an effort": (["model.pt", *TARGET, "--effort", "qick"], "bad-option", "did you mean 'quick'?"),
    "an option of the runtime": (["model.pt", *TARGET, "--option", "thread=1"], "unknown-option", "'threads'"),
    "an option without a value": (["model.pt", *TARGET, "--option", "threads"], "bad-option", "onnxruntime.NAME=VALUE"),
    "an option of nobody": (["model.pt", *TARGET, "--option", "onnxruntme.threads=1"], "bad-option", "did you mean"),
    "a size": (["model.pt", *TARGET, "--memory-limit", "8 elephants"], "bad-option", "write 8G or 512M"),
    "a spec that does not parse": (["model.pt", *TARGET, "-i", "x=float32[2"], "bad-input-spec", "write it like"),
    "a range upside down": (["model.pt", *TARGET, "-i", "x:float32[n=8..1]"], "bad-input-spec", "did you mean n=1..8?"),
    "inputs that are not there": (["model.pt", *TARGET, "--inputs", "x.npz"], "no-such-file", "x.npz"),
    "a bundle that is not there": (["verify", "nowhere"], "not-a-bundle", "there is no bundle 'nowhere'"),
    "a bundle that is none": (["run", ".", "--inputs", "x.npz"], "not-a-bundle", "manifest.json"),
    "nothing to inspect": (["inspect", "nowhere.pt"], "no-such-file", "there is no nowhere.pt"),
    "an argument too many": (["targets", "more"], "usage", "unexpected extra argument"),
    "a missing argument": (["verify"], "usage", "Missing argument 'BUNDLE'"),
    "outputs of another kind": (["run", ".", "--inputs", "x.npz", "--outputs", "y.csv"], "bad-option", ".npz"),
}


@pytest.mark.parametrize("name", USAGE)
def test_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    arguments, code, says = USAGE[name]
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"error[{code}]: ")
    assert says in printed.err
    assert list(tmp_path.iterdir()) == []

    assert run([*arguments, "--json"]) == 2
    printed = capsys.readouterr()
    assert printed.err == ""
    found = json.loads(printed.out)["error"]
    assert (found["code"], found["exit_code"]) == (code, 2)


@pytest.mark.parametrize("name", ["a mistyped command", "a mistyped target", "a spec that does not parse"])
def test_wrong_usage_in_a_process_of_its_own(cli: Cli, name: str) -> None:
    arguments, code, says = USAGE[name]
    done = cli(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error[{code}]" in done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], "inputs-unknown", "--input 'x:DTYPE[DIMS]'"),
        (["-i", "y:float32[2,16]"], "unknown-input", "it takes x"),
        (["-i", "x:float32[2,17]"], "capture-failed", "mlp.py:10"),
        (["-i", "x:int64[2,16]"], "model-raised", "mlp.py:10"),
        (["-i", MLP_INPUT, "--inputs", "wide.npz"], "input-mismatch", "expected x:float32[batch=1..8,16]"),
        (["-i", MLP_INPUT, "--inputs", "double.npz"], "input-mismatch", "is float64, the model takes float32"),
        (["-i", MLP_INPUT, "--inputs", "other.npz"], "unknown-input", "the model takes no input 'z'"),
        (["-i", MLP_INPUT, "--model", "mlp.py:build"], "needless-factory", "leave --model away"),
    ],
)
def test_inputs_that_do_not_fit(
    tmp_path: Path,
    mlp_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: str,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("wide.npz", x=np.ones((2, 17), np.float32))
    np.savez("double.npz", x=np.ones((2, 16)))
    np.savez("other.npz", z=np.ones((2, 16), np.float32))
    exit_code = 1 if code in ("capture-failed", "model-raised") else 2
    assert run([f"{mlp_file}:build", *TARGET, *arguments]) == exit_code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"error[{code}]: " in printed.err
    assert says in printed.err
    assert not Path("build").exists() or not list(Path("build").iterdir())


@pytest.mark.usefixtures("third_party")
def test_a_crash_inside_a_runtime(cli: Cli, mlp_file: Path, tmp_path: Path) -> None:
    done = cli(f"{mlp_file}:build", "-t", "crashing", "-i", MLP_INPUT, "--option", "at=open")
    assert (done.returncode, done.stdout) == (1, "")
    assert "error[runtime-crashed]: crashing crashed in open" in done.stderr
    assert "SIGSEGV" in done.stderr
    assert "repro: build/mlp.crashing.repro" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "build").iterdir()] == ["mlp.crashing.repro"]


def test_a_bug_of_ours_is_called_that(
    mlp_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("compiler.driver.capture", broken)
    arguments = [f"{mlp_file}:build", *TARGET, "-i", MLP_INPUT, "-o", str(tmp_path / "build")]
    assert run(arguments) == 70
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "error[internal]: this is a bug of plumbline" in printed.err
    assert "ZeroDivisionError: oops" in printed.err
    assert "--debug" in printed.err
    assert list((tmp_path / "build").iterdir()) == []
    with pytest.raises(ZeroDivisionError):
        run([*arguments, "--debug"])


def test_a_reader_that_goes_away_is_no_error(mlp_bundle: Path) -> None:
    import subprocess

    command = f"set -o pipefail; {COMPILE} inspect {mlp_bundle} | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stdout == f"# {mlp_bundle}\n"
    assert "Traceback" not in done.stderr
    assert done.stderr == ""
