"""The command line."""

from compiler.cli.main import main

__all__ = ["main"]
