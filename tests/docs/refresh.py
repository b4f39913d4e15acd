"""Runs every `$ compile` command that the pages show and writes down what it says: python tests/docs/refresh.py

Blocks of Python that are marked `<!-- file: name.py -->` become files first. What a reader would have besides them
(weights, a scripted module, a Hugging Face folder, data) is made here.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("getting-started.md", "commands.md", "inputs.md", "bisect.md", "bundle.md", "errors.md")
PAGES = [ROOT / "docs" / name for name in NAMES]
PAGES += sorted((ROOT / "docs" / "backends").glob("*.md"))

FILE = re.compile(r"<!-- file: (?P<name>\S+) -->\n```python\n(?P<text>.*?)```", re.S)
OUTPUT = re.compile(r"(?P<head><!-- output of: (?P<name>\S+) -->\n```\n)(?P<text>.*?)(?P<tail>```)", re.S)
SHELL = re.compile(r"(?P<head>^```\n)(?P<text>\$ .*?)(?P<tail>^```)", re.S | re.M)
COMMAND = re.compile(r"^\$ (?P<line>(?:.*\\\n)*.*)$", re.M)

SETUP = """
import numpy as np, torch, mynet
np.savez("data.npz", x=np.random.default_rng(0).standard_normal((5, 16), dtype=np.float32))
weights = mynet.build().state_dict()
torch.save({"epoch": 3, "state_dict": weights}, "checkpoint.pt")
torch.save({name: tensor for name, tensor in weights.items() if name != "hidden.bias"}, "partial.pt")

import steps
torch.jit.save(torch.jit.script(steps.Steps()), "steps.pt")

import transformers
torch.manual_seed(0)
small = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
config = transformers.BertConfig(vocab_size=200, max_position_embeddings=64, **small)
transformers.BertModel(config).save_pretrained("tinybert")
"""

STEPS = """
import torch

class Steps(torch.nn.Module):
    def forward(self, x):
        for _ in range(x.size(0)):
            x = x * 0.5 + 1
        return x
"""


def run(*command: str, cwd: Path) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600
    )
    lines = [line.rstrip() for line in done.stdout.replace(f"{cwd}/", "").splitlines()]
    return "".join(f"{line}\n" for line in lines if line)


def prepare(cwd: Path) -> None:
    for page in PAGES:
        for block in FILE.finditer(page.read_text(encoding="utf-8")):
            (cwd / block["name"]).write_text(block["text"], encoding="utf-8")
    (cwd / "steps.py").write_text(STEPS, encoding="utf-8")
    (cwd / "setup.py").write_text(SETUP, encoding="utf-8")
    run(sys.executable, "setup.py", cwd=cwd)
    mynet = ["mynet.py:build", "--target", "onnxruntime", "--input", "x:float32[batch=1..32,16]"]
    run("compile", *mynet, cwd=cwd)
    shutil.copytree(cwd / "build" / "mynet.onnxruntime", cwd / "tampered.onnxruntime")
    with (cwd / "tampered.onnxruntime" / "model.onnx").open("ab") as file:
        file.write(b"x")


def refreshed(text: str, cwd: Path) -> str:
    def shell(block: re.Match[str]) -> str:
        lines = [command["line"] for command in COMMAND.finditer(block["text"])]
        said = (f"$ {line}\n" + run(*shlex.split(line.replace("\\\n", " ")), cwd=cwd) for line in lines)
        return block["head"] + "".join(said) + block["tail"]

    def output(block: re.Match[str]) -> str:
        return block["head"] + run(sys.executable, block["name"], cwd=cwd) + block["tail"]

    return OUTPUT.sub(output, SHELL.sub(shell, text))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        cwd = Path(folder).resolve()
        prepare(cwd)
        for page in PAGES:
            page.write_text(refreshed(page.read_text(encoding="utf-8"), cwd), encoding="utf-8")
            sys.stdout.write(f"{page.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
