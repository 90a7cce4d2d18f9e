"""The ``rustassistant`` command: parse, call, render. No algorithm lives here."""

from __future__ import annotations


def main() -> None:
    """Run the command with the process's arguments and exit."""
    import gc

    # Hardly anything here goes round in circles; to look for what does took a quarter of the start.
    gc.set_threshold(50_000, 20, 20)

    from rustassistant.cli.app import run

    run()
