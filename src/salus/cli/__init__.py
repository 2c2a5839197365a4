"""The command line: a file a command; parses, calls, prints."""

from salus.cli.main import main

__all__ = ["main"]
