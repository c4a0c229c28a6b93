"""The command line: `main` is the console script; each module of this package is a command or a group of them."""

from worker.cli.root import main

__all__ = ["main"]
