"""The command as a user types it: what it prints where, and what it answers with."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import COMPILE, MLP_INPUT, Cli

from compiler import bundle as bundles
from compiler import cache
from compiler.cli.console import LiveProgress
from compiler.cli.main import COMMANDS, run

ESCAPE = "\x1b"


def document(text: str) -> dict[str, Any]:
    """Standard output as the one JSON document that it must be."""
    found = json.loads(text)
    assert isinstance(found, dict)
    return found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    np.savez(tmp_path / "data.npz", x=np.ones((2, 16), np.float32))
    return tmp_path / "data.npz"


# -- help -------------------------------------------------------------------------------------------------------


def test_help_is_one_screen_with_examples(cli: Cli) -> None:
    done = cli("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) <= 40
    assert all(command in done.stdout for command in COMMANDS)
    assert "compile resnet.pt2 --target onnxruntime" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Usage: compile {command}" in text
    for option in ("--json", "--quiet", "--debug"):
        assert option in text


def test_the_version(cli: Cli) -> None:
    assert cli("--version").stdout.startswith("plumbline, version ")


# -- compiling --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(mlp_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """One compilation in a process of its own, without a terminal; the factory is a relative path."""
    folder = tmp_path_factory.mktemp("cli")
    shutil.copy(mlp_file, folder)
    done = subprocess.run(
        [COMPILE, "mlp.py:build", "-t", "onnxruntime", "--input", MLP_INPUT],
        cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return done, folder


def test_the_default_command_compiles(built: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    done, folder = built
    assert done.returncode == 0, done.stderr
    assert "it computes what the model computes: 3 cases" in " ".join(done.stdout.split())
    assert "build/mlp.onnxruntime" in done.stdout
    assert [path.name for path in (folder / "build").iterdir()] == ["mlp.onnxruntime"]


def test_progress_is_a_line_per_stage_on_stderr(built: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    lines = built[0].stderr.splitlines()
    stages = ["load", "trace", "capture", "optimize", "lower", "build", "reference", "verify", "write"]
    assert [line.partition(":")[0] for line in lines] == stages


def test_nothing_is_coloured_without_a_terminal(built: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    assert ESCAPE not in built[0].stdout + built[0].stderr


def test_two_compilations_give_the_same_bytes(
    built: tuple[subprocess.CompletedProcess[str], Path], mlp_bundle: Path
) -> None:
    """One in a process of its own, one in this one; from folders of different names."""
    for name in bundles.read(mlp_bundle).artifact.files:
        assert (built[1] / "build" / "mlp.onnxruntime" / name).read_bytes() == (mlp_bundle / name).read_bytes()


def test_a_name_an_output_and_json(mlp_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [f"{mlp_file}:build", "-i", MLP_INPUT, "--output", str(tmp_path / "out"), "--name", "net"]
    code = run(["--target", "onnxruntime", *arguments, "--json", "--option", "onnxruntime.threads=1", "--seed", "5"])
    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    found = document(printed.out)
    assert found["bundle"] == str(tmp_path / "out" / "net.onnxruntime")
    assert found["verdict"]["status"] == "passed"
    assert found["options"]["seed"] == 5
    assert found["effective"]["threads"] == 1


def test_quiet_leaves_the_result_only(mlp_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run([f"{mlp_file}:build", "-t", "onnxruntime", "-i", MLP_INPUT, "-o", str(tmp_path), "--quiet"])
    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    assert "mlp.onnxruntime" in printed.out


def test_data_to_check_with(mlp_file: Path, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run([f"{mlp_file}:build", "-t", "onnxruntime", "--inputs", str(data), "-o", str(tmp_path), "--json"])
    found = document(capsys.readouterr().out)
    assert code == 0
    assert found["reference"]["cases"][0] == "given inputs"


@pytest.mark.usefixtures("third_party")
def test_numbers_that_differ(
    mlp_file: Path, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str], cli: Cli
) -> None:
    out = tmp_path / "out"
    compiling = [f"{mlp_file}:build", "-t", "wrong", "-i", MLP_INPUT, "-o", str(out)]
    assert run([*compiling, "--no-verify"]) == 0
    assert "nothing is known about its numbers" in " ".join(capsys.readouterr().out.split())
    good = (out / "mlp.wrong" / "manifest.json").read_bytes()

    assert run(compiling) == 3
    printed = capsys.readouterr()
    assert "REJECTED" in printed.out
    assert "FAILED" in printed.out
    assert "Traceback" not in printed.err
    assert (out / "mlp.wrong" / "manifest.json").read_bytes() == good
    rejected = out / "mlp.wrong.rejected"
    assert sorted(path.name for path in out.iterdir()) == ["mlp.wrong", "mlp.wrong.bisect", "mlp.wrong.rejected"]

    done = cli("verify", rejected, "--json")
    assert (done.returncode, document(done.stdout)["verdict"]["status"]) == (3, "failed")
    done = cli("run", rejected, "--inputs", data)
    assert (done.returncode, done.stdout) == (1, "")
    assert "error[rejected-bundle]" in done.stderr
    assert cli("run", rejected, "--inputs", data, "--trust").returncode == 0


# -- the other commands -----------------------------------------------------------------------------------------


def test_a_bundle_verifies(cli: Cli, mlp_bundle: Path) -> None:
    done = cli("verify", mlp_bundle)
    assert done.returncode == 0, done.stderr
    assert "still computes what the model computes: 3 cases" in " ".join(done.stdout.split())
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["load", "open", "verify"]


def test_a_bundle_verifies_in_json(cli: Cli, mlp_bundle: Path) -> None:
    done = cli("verify", mlp_bundle, "--json", "--option", "threads=1", "--timeout", "60", "--memory-limit", "8G")
    assert (done.returncode, done.stderr) == (0, "")
    assert document(done.stdout)["verdict"]["cases"] == 3


def test_a_bundle_that_was_tampered_with(cli: Cli, bundle: Path) -> None:
    content = bytearray((bundle / "model.onnx").read_bytes())
    content[-1] ^= 1
    (bundle / "model.onnx").write_bytes(content)
    for command in (["verify", bundle], ["run", bundle, "--inputs", "x.npz"]):
        done = cli(*command)
        assert (done.returncode, done.stdout) == (1, "")
        assert "error[bundle-changed]" in done.stderr
    done = cli("inspect", bundle)
    assert done.returncode == 0
    assert "CHANGED: model.onnx is not the file that was sealed" in done.stdout


def test_a_bundle_runs(cli: Cli, mlp_bundle: Path, data: Path, tmp_path: Path) -> None:
    done = cli("run", mlp_bundle, "--inputs", data)
    assert done.returncode == 0, done.stderr
    assert "output: float32[2, 4]" in done.stdout
    done = cli("run", mlp_bundle, "--inputs", data, "--outputs", "y.npz", "--json")
    found = document(done.stdout)["outputs"]["output"]
    with np.load(tmp_path / "y.npz") as outputs:
        y = outputs["output"]
    assert (found["shape"], found["dtype"]) == ([2, 4], "float32")
    np.testing.assert_allclose(found["first"], y.reshape(-1)[:5])
    import backends

    with backends.load(mlp_bundle) as session:
        np.testing.assert_array_equal(y, session({"x": np.ones((2, 16), np.float32)})["output"])


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": np.ones((2, 16))}, "input 'x' is float64, the model takes float32"),
        ({"x": np.ones((9, 16), np.float32)}, "input 'x' has shape [9,16]"),
        ({"y": np.ones((2, 16), np.float32)}, "there is no input 'y'"),
    ],
)
def test_a_bundle_refuses_data_that_does_not_fit(
    mlp_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arrays: dict[str, Any], says: str
) -> None:
    np.savez(tmp_path / "data.npz", **arrays)
    assert run(["run", str(mlp_bundle), "--inputs", str(tmp_path / "data.npz")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert says in printed.err


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_a_bundle_is_inspected(cli: Cli, mlp_bundle: Path, extra: list[str]) -> None:
    done = cli("inspect", mlp_bundle, *extra)
    assert (done.returncode, done.stderr) == (0, "")
    if extra:
        found = document(done.stdout)
        assert found["integrity"] == "every file is as it was sealed"
        assert found["manifest"]["target"] == "onnxruntime"
    else:
        assert "| fold-constants |" in done.stdout


def test_a_model_is_inspected(mlp_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    torch.save({"a.weight": torch.ones(3, 2), "a.bias": torch.ones(3)}, tmp_path / "weights.pt")
    assert run(["inspect", str(tmp_path / "weights.pt"), "--json"]) == 0
    found = document(capsys.readouterr().out)
    assert (found["format"], found["tensors"], found["parameters"]) == ("state-dict", 2, 9)
    assert run(["inspect", f"{mlp_file}:build"]) == 0
    printed = capsys.readouterr().out
    assert "format: factory" in printed
    assert "  x" in printed


def test_a_folder_of_hugging_face_shows_the_inputs_that_would_be_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=50, **sizes)).save_pretrained(tmp_path)
    assert run(["inspect", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "inputs, unless --input says otherwise:\n  input_ids:int64[batch=1..8,seq=8..128]\n" in printed


def test_the_targets_of_this_machine(cli: Cli) -> None:
    found = document(cli("targets", "--json").stdout)["targets"]
    assert list(found)[:5] == ["onnxruntime", "openvino", "tensorrt", "tvm", "onnx"]
    assert found["onnxruntime"]["available"] is True
    done = cli("targets")
    assert (done.returncode, done.stderr) == (0, "")
    assert "onnxruntime" in done.stdout


@pytest.mark.usefixtures("third_party")
def test_several_targets_at_once_and_the_worst_exit_code(cli: Cli, mlp_file: Path, tmp_path: Path) -> None:
    source = [f"{mlp_file}:build", "-i", MLP_INPUT, "-o", str(tmp_path)]
    done = cli(*source, "-t", "onnxruntime,absent,crashing,wrong", "--option", "crashing.at=build")
    assert done.returncode == 3
    assert done.stderr.count("\ncapture:") == 1
    assert "error[target-unavailable]" in done.stderr
    assert "error[runtime-crashed]" in done.stderr
    # The first line of each: the end of a long path may stand below it.
    lines = {line.split()[0]: line for line in reversed(done.stdout.splitlines()) if line.strip()}
    assert "passed" in lines["onnxruntime"]
    assert "REJECTED" in lines["wrong"]
    assert "target-unavailable" in lines["absent"]
    left = {"mlp.onnxruntime", "mlp.wrong.rejected", "mlp.wrong.bisect", "mlp.crashing.repro"}
    assert {path.name for path in tmp_path.iterdir()} == left


@pytest.mark.usefixtures("third_party")
def test_several_targets_give_one_document(cli: Cli, mlp_file: Path, tmp_path: Path) -> None:
    done = cli(f"{mlp_file}:build", "-i", MLP_INPUT, "-o", str(tmp_path), "-t", "onnx,absent,onnxruntime", "--json")
    first, absent, last = document(done.stdout)["results"]
    assert done.returncode == 4
    assert (first["target"], first["verdict"]["status"]) == ("onnx", "passed")
    assert (absent["target"], absent["error"]["code"]) == ("absent", "target-unavailable")
    assert last["source"] == first["source"]


def test_a_target_that_comes_later_is_checked_before_anything_is_loaded(cli: Cli) -> None:
    done = cli("no/such/model.pt", "-t", "onnxruntime,opnvino")
    assert (done.returncode, "did you mean 'openvino'?" in done.stderr) == (2, True)


def test_the_cache_is_shown_and_cleared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUMBLINE_CACHE", str(tmp_path))
    folder = cache.folder("kernels", "a")
    assert folder is not None
    (folder / "data").write_bytes(bytes(2048))
    assert run(["cache"]) == 0
    assert "kernels" in capsys.readouterr().out
    assert run(["cache", "--json"]) == 0
    assert document(capsys.readouterr().out)["kinds"] == {"kernels": {"entries": 1, "bytes": 2048}}
    assert run(["cache", "--clear", "--kind", "models"]) == 0
    assert folder.exists()
    assert run(["cache", "--clear"]) == 0
    assert "2.0 KiB freed" in capsys.readouterr().out
    assert not folder.exists()


@pytest.mark.usefixtures("third_party")
def test_a_target_that_is_not_there_says_what_to_do(cli: Cli) -> None:
    done = cli("targets")
    assert "absent: its hardware is on the moon" in done.stdout
    assert "try: fly there" in done.stdout
    assert "absent" not in cli("targets", "--ready").stdout.split()
    done = cli("model.pt", "--target", "absent")
    assert (done.returncode, done.stdout) == (4, "")


# -- defaults of a project --------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["plumbline.toml", "pyproject.toml"])
@pytest.mark.parametrize("depth", [".", "deep/er"])
def test_defaults_stand_in_a_file_here_or_above(
    tmp_path: Path,
    mlp_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
    depth: str,
) -> None:
    text = f'target = "onnxrutime"\ninput = ["{MLP_INPUT}"]\nno-verify = true\n'
    (tmp_path / place).write_text(text if place == "plumbline.toml" else f"[tool.plumbline]\n{text}")
    (tmp_path / depth).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(tmp_path / depth)
    assert run([f"{mlp_file}:build"]) == 2
    assert "there is no target 'onnxrutime'" in capsys.readouterr().err
    if depth == ".":
        assert run([f"{mlp_file}:build", "-t", "onnxruntime", "--json"]) == 0  # what is typed comes first
        assert document(capsys.readouterr().out)["verdict"]["status"] == "skipped"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('taget = "onnxruntime"', "did you mean 'target'?"),
        ("target = ", "cannot be read"),
        ('seed = "many"', "'seed' cannot be 'many'"),
    ],
)
def test_a_mistake_in_the_file_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, says: str
) -> None:
    (tmp_path / "plumbline.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert run(["model.pt", "-t", "onnxruntime"]) == 2
    printed = capsys.readouterr().err
    assert "error[bad-config]" in printed
    assert says in printed
    assert "plumbline.toml" in printed


# -- on a terminal ----------------------------------------------------------------------------------------------


def on_a_terminal(*arguments: str, **environment: str) -> tuple[int, str]:
    """What a person sees: both streams on one terminal."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", **environment}
    child = subprocess.Popen([COMPILE, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 4096):
            seen += chunk
    except OSError:
        pass  # how Linux says that the other end is closed
    os.close(ours)
    return child.wait(timeout=60), seen.decode()


COLOURS = (f"{ESCAPE}[3", f"{ESCAPE}[9", f"{ESCAPE}[1;3")


def test_a_terminal_gets_colours_and_its_cursor_back(mlp_bundle: Path) -> None:
    code, seen = on_a_terminal("verify", str(mlp_bundle))
    assert code == 0
    assert "✓" in seen
    assert any(colour in seen for colour in COLOURS)
    assert seen.rfind(f"{ESCAPE}[?25h") > seen.rfind(f"{ESCAPE}[?25l")


def test_no_color_is_honoured(mlp_bundle: Path) -> None:
    code, seen = on_a_terminal("verify", str(mlp_bundle), NO_COLOR="1")
    assert code == 0
    assert not any(colour in seen for colour in COLOURS)
    _, seen = on_a_terminal("verify", "nowhere", NO_COLOR="1")
    assert ESCAPE not in seen


def test_after_an_error_the_cursor_comes_back_and_nothing_is_ticked(bundle: Path) -> None:
    (bundle / "model.onnx").unlink()
    code, seen = on_a_terminal("verify", str(bundle))
    assert code == 1
    assert "✓" not in seen
    assert seen.rfind(f"{ESCAPE}[?25h") > seen.rfind(f"{ESCAPE}[?25l")


def test_a_path_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    shown = LiveProgress()
    shown.stage("load", "models/[/x][bold].pt")
    shown.note("[/y]")
    shown.done()
    printed = capsys.readouterr().err
    assert "models/[/x][bold].pt" in printed
    assert "note: [/y]" in printed
