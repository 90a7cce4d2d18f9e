"""The ``rustassistant`` command: parse, call, render. No algorithm lives here."""

from __future__ import annotations


def main() -> None:
    """Run the command with the process's arguments and exit."""
    from rustassistant.cli.app import run

    run()
