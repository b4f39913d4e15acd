"""How many of transformers' architectures compile: `make bench-architectures N=60 SEED=0`.

Config classes are sampled from transformers' own mapping, shrunk by rules on their settings' names, saved as a
Hugging Face folder with random weights, and compiled from that folder with the inputs that its config tells.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 300

ONE = """
import sys
sys.path[:0] = [{tests!r}]
import warnings; warnings.simplefilter("ignore")
import shrink
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES
from compiler.frontend.huggingface_inputs import suggested_specs
name = MODEL_MAPPING_NAMES.get({kind!r}) or shrink.architectures({kind!r})[0]
name = name if isinstance(name, str) else name[0]
try:
    # Sizes that were cut may not fit together any more: such a model is built, and never runs.
    model = shrink.tiny_model({kind!r}, name, runs=lambda model: bool(suggested_specs(model)))
except Exception:
    model = shrink.tiny_model({kind!r}, name)
model.save_pretrained({folder!r})
"""


def outcome(kind: str) -> tuple[str, str]:
    """A word for what happened, and the line that explains it."""
    with tempfile.TemporaryDirectory() as folder:
        script = ONE.format(tests=str(ROOT / "tests" / "frontend"), kind=kind, folder=folder)
        try:
            script_run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            return "not made", f"more than {TIMEOUT} s"
        if script_run.returncode:
            return "not made", script_run.stderr.strip().splitlines()[-1]
        command = [str(Path(sys.executable).with_name("compile")), folder, "--target", "onnxruntime", "--quiet"]
        try:
            done = subprocess.run(
                [*command, "--output", folder, "--name", "model"], capture_output=True, text=True, timeout=TIMEOUT
            )
        except subprocess.TimeoutExpired:
            return "timeout", f"more than {TIMEOUT} s"
        if done.returncode == 0:
            return "compiled", " ".join(done.stdout.splitlines()[:2])
        words = {1: "not compiled", 2: "no inputs", 3: "differs", 70: "BUG"}
        lines = done.stderr.strip() or done.stdout
        return words.get(done.returncode, "failed"), " | ".join(line.strip() for line in lines.splitlines()[:3])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("kinds", nargs="*", help="these model types instead of a sample")
    options = parser.parse_args()
    sys.path[:0] = [str(ROOT / "tests" / "frontend")]
    from shrink import sampled_types

    counted: Counter[str] = Counter()
    kinds = options.kinds or sampled_types(sys.maxsize, options.seed)
    for kind in kinds:
        word, why = outcome(kind)
        counted[word] += 1
        print(f"{kind:<28} {word:<13} {why[:220]}", flush=True)
        if made(counted) == options.n:
            break
    print(f"\n{counted['compiled']} of {made(counted)} compiled: {dict(counted)}")


def made(counted: Counter[str]) -> int:
    """Some types cannot be built from their default config alone, or need a package that is not here."""
    return sum(counted.values()) - counted["not made"]


if __name__ == "__main__":
    main()
