"""The command line: ``intgrad explain | audit | demo | methods``."""

from intgrad.cli.commands import app, main

__all__ = ["app", "main"]
