"""The command line: ``intgrad explain | demo | methods``."""

from intgrad.cli.commands import app, main

__all__ = ["app", "main"]
