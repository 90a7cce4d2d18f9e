"""``rustassistant cache clear``: chosen entries into the trash."""

from __future__ import annotations

from dataclasses import dataclass

from rustassistant.cli.audience import Audience
from rustassistant.cli.exits import EXIT_DECLINED
from rustassistant.cli.readable import counted, size
from rustassistant.cli.remaking import (
    agreed,
    remaking_fields,
    remaking_of,
    remaking_text,
    say_gaps,
    worth,
)
from rustassistant.cli.render import emit, say
from rustassistant.cli.stopping import interruptible
from rustassistant.errors import UsageError
from rustassistant.retention import clear
from rustassistant.stores.base import printable
from rustassistant.transfer.selection import ALL, Selection


@dataclass(frozen=True, slots=True)
class ClearOptions(Audience):
    """What the command line asked for."""

    database: str
    selection: Selection
    everything: bool
    dry_run: bool
    yes: bool

    def check(self) -> None:
        """Raise UsageError if nothing, or two things, say what to clear."""
        if self.selection == ALL and not self.everything:
            raise UsageError(
                "nothing says what to clear", hint="Give filters, such as --repo, or --all."
            )
        if self.selection != ALL and self.everything:
            raise UsageError("--all leaves nothing to filter", hint="Give filters, or --all.")


def run_clear(options: ClearOptions) -> int:
    """Ask, clear, tell; return the exit code."""
    options.check()
    costs = worth()
    with interruptible("interrupted; nothing was cleared"):
        if options.dry_run or not options.yes:
            done = clear(options.database, options.selection, dry_run=True)
        if not options.dry_run:
            if not options.yes and done.entries:
                cost = remaking_text(remaking_of(done.spent, costs))
                question = f"Put {counted(done.entries, 'entry')} ({cost}) into the trash?"
                if not agreed(question, yes=False, as_json=options.as_json):
                    return EXIT_DECLINED
            done = clear(options.database, options.selection)
    remaking = remaking_of(done.spent, costs)
    if options.talks:
        mark, verb = ("🔎", "Would put") if options.dry_run else ("✓", "Put")
        say(f"{mark} {verb} {counted(done.entries, 'entry')} into the trash")
        if done.entries:
            say(f"  Live entries: {size(done.size_before)} → {size(done.size_after)}")
            say(f"  Making them again would take {remaking_text(remaking)}")
            say_gaps(remaking)
        if done.pinned:
            pinned = counted(done.pinned, "pinned entry", "pinned entries")
            say(f"  {pinned} stay{'s' * (done.pinned == 1)}")
        if done.entries and not options.dry_run:
            say("  `rustassistant cache trash restore --reason cleared` brings them back")
    if options.as_json:
        emit(
            "summary",
            database=printable(options.database),
            dry_run=options.dry_run,
            entries=done.entries,
            pinned=done.pinned,
            size_before=done.size_before,
            size_after=done.size_after,
            cost=remaking_fields(remaking),
        )
    return 0
