"""`compile`: one group whose default command compiles a model."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import click

from compiler import __version__
from compiler.cli.console import show_error
from compiler.errors import Exit, PlumblineError, UnavailableError, UsageError, did_you_mean

# Name, where it lives, and its line in the help. Nothing is imported before a command is used.
COMMANDS: dict[str, tuple[str, str]] = {
    "build": ("compiler.cli.build:build", "compile a model for one target (the default: `compile MODEL --target T`)"),
    "verify": ("compiler.cli.verify:verify", "run a finished bundle against its own recorded reference"),
    "check": ("compiler.cli.check:check", "models x targets of a manifest: fail when the numbers drift (for CI)"),
    "bisect": ("compiler.cli.bisect:bisect", "where a model's numbers begin to differ, and whose fault it is"),
    "inspect": ("compiler.cli.inspect:inspect", "what is in a model file or a bundle"),
    "run": ("compiler.cli.run:run", "run a bundle on data"),
    "bench": ("compiler.cli.bench:bench", "time bundles of one model side by side, and beside PyTorch"),
    "passes": ("compiler.cli.passes:passes", "the passes in order: what each does, and why it stands there"),
    "diff": ("compiler.cli.diff:diff", "in what two graphs or bundles differ"),
    "targets": ("compiler.cli.targets:targets", "what this machine can build and run, and what to do about the rest"),
    "cache": ("compiler.cli.cache:cache", "what runtimes keep between builds, and how much room it takes"),
}

DEFAULT = "build"

HELP = """Compile a PyTorch model and prove that the result still computes what the model computes.

\b
  compile resnet.pt2 --target onnxruntime
  compile weights.pt --model mynet.py:build --target onnxruntime \\
          --input 'x:float32[batch=1..32,3,224,224]'
  compile ./minilm/ --target onnxruntime        a Hugging Face folder
  compile mynet.py:build --target onnxruntime --input 'x:float32[2,16]'
  compile verify build/resnet.onnxruntime
  compile inspect resnet.pt2

`compile build --help` lists every option of compiling.
Exit codes: 0 ok, 1 could not compile, 2 wrong usage, 3 the numbers differ, 4 target not available here.
"""


class LazyGroup(click.Group):
    """Commands are imported when they are asked for; a first word that is no command is a model."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        first = args[0]
        if first in COMMANDS:
            return super().resolve_command(ctx, args)
        if not first.startswith("-") and not _may_be_model(first):
            raise UsageError(
                "unknown-command",
                f"'{first}' is neither a command nor a model",
                why="there is no such file or folder, and it is not written like file.py:factory",
                hint=did_you_mean(first, COMMANDS) or "compile --help",
            )
        return DEFAULT, self.get_command(ctx, DEFAULT), args

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0].startswith("-") and args[0] not in ("--help", "-h", "--version"):
            args = [DEFAULT, *args]  # `compile --target onnxruntime model.pt2`
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def _may_be_model(word: str) -> bool:
    """A mistyped command must not be taken for a model that does not exist; a mistyped path should be."""
    return Path(word).exists() or any(mark in word for mark in ":/.")


@click.group(
    cls=LazyGroup, help=HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="plumbline")
def group() -> None:
    pass


def main() -> None:
    """The entry point: every error in one voice, and the exit code that it stands for."""
    sys.exit(run(sys.argv[1:]))


def run(args: list[str]) -> int:
    as_json, debug = "--json" in args, "--debug" in args
    try:
        result: Any = group.main(args, prog_name="compile", standalone_mode=False)
        return int(result) if isinstance(result, int) else Exit.OK
    except PlumblineError as error:
        if debug:
            raise
        show_error(error, as_json=as_json)
        return error.exit_code
    except click.ClickException as error:
        show_error(_as_usage(error), as_json=as_json)
        return Exit.USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; nothing was changed", err=True)
        return Exit.INTERRUPTED
    except ModuleNotFoundError as error:
        if debug or (error.name or "").partition(".")[0] not in _EXTRAS:
            raise
        show_error(_missing_extra(error), as_json=as_json)
        return Exit.UNAVAILABLE
    except BrokenPipeError:
        # The reader of our output went away; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except Exception as error:
        if debug:
            raise
        show_error(_bug(error), as_json=as_json)
        return Exit.BUG


def _as_usage(error: click.ClickException) -> PlumblineError:
    context = getattr(error, "ctx", None)
    return UsageError("usage", error.format_message(), hint=f"{context.command_path} --help" if context else None)


# What a host that only runs bundles does not have, and the extra that brings it.
_EXTRAS = dict.fromkeys(("torch", "onnx", "onnx_ir", "onnxscript", "ml_dtypes", "safetensors"), "compile")


def _missing_extra(error: ModuleNotFoundError) -> PlumblineError:
    package = str(error.name).partition(".")[0]
    return UnavailableError(
        "missing-extra", f"this needs {package}", why=str(error), hint=f"pip install 'plumbline[{_EXTRAS[package]}]'"
    )


def _bug(error: Exception) -> PlumblineError:
    import traceback

    last = traceback.extract_tb(error.__traceback__)[-1]
    return PlumblineError(
        "internal",
        "this is a bug of plumbline",
        where=f"{last.filename}:{last.lineno}",
        why=f"{type(error).__name__}: {error}",
        hint="run it again with --debug and report the trace",
    )
