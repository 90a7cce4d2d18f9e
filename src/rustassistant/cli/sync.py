"""``rustassistant cache sync``: what was done, for people and as JSON."""

from __future__ import annotations

import dataclasses
import sys
import time
from dataclasses import dataclass
from typing import Final

from rustassistant.cli.exits import EXIT_CONFLICTS, EXIT_FAILURES
from rustassistant.cli.render import LISTED, emit, print_error, say, visible, warn
from rustassistant.cli.stopping import Stop
from rustassistant.errors import InterruptedRunError, RustAssistantError, UsageError
from rustassistant.sync import CacheSync, Choice, Question, Step, SyncResult
from rustassistant.sync.report import Moved
from rustassistant.sync.watch import watch
from rustassistant.timestamps import format_rfc3339
from rustassistant.transfer.selection import Selection

_NOTES_LISTED: Final = 10
_STEPS_LISTED: Final = 500
_ANSWERS: Final = {
    "a": Choice.A,
    "b": Choice.B,
    "k": Choice.KEEP_BOTH,
    "s": Choice.LEAVE,
}
_ARROWS: Final = {"a": "B→A", "b": "A→B", "": "   "}


@dataclass(frozen=True, slots=True)
class SyncArguments:
    """What the command line asked for."""

    a: str
    b: str
    resolve: str
    delete: bool
    max_delete: str
    forget: bool
    dry_run: bool
    watch: bool
    selection: Selection
    as_json: bool
    quiet: bool

    @property
    def talks(self) -> bool:
        """Whether people read along."""
        return not (self.as_json or self.quiet)

    @property
    def asks(self) -> bool:
        """Whether there is somebody to ask."""
        return (
            self.resolve == "ask"
            and not (self.as_json or self.quiet or self.watch or self.dry_run)
            and sys.stdin.isatty()
            and sys.stdout.isatty()
        )


def run_sync(arguments: SyncArguments) -> int:
    """Sync as asked; return the exit code."""
    if arguments.watch and arguments.dry_run:
        raise UsageError("--watch with --dry-run would never write anything", hint="Choose one.")
    stop = Stop()
    sync = CacheSync(
        arguments.a,
        arguments.b,
        resolve=arguments.resolve,
        delete=arguments.delete,
        max_delete=arguments.max_delete,
        selection=arguments.selection,
        ask=_ask if arguments.asks else None,
        cancelled=stop,
    )
    if arguments.talks:
        say("👀 Watching" if arguments.watch else "🔁 Comparing" if arguments.dry_run
            else "🔁 Syncing")  # fmt: skip
        for letter, side in zip("AB", sync.sides, strict=True):
            new = "" if side.exists() else ", new"
            say(f"  {letter}: {visible(side.location)} ({side.kind}{new})")
        say()
    try:
        with stop.listening():
            if arguments.watch:
                return _watch(sync, stop, arguments)
            result = sync.run(_Steps(arguments), dry_run=arguments.dry_run, forget=arguments.forget)
    except KeyboardInterrupt:
        raise InterruptedRunError(
            "interrupted; what was synced before is safe, and remembered",
            hint="Run the same command again: it goes on where it stopped.",
        ) from None
    _tell(sync, result, arguments)
    sys.stdout.flush()
    return _exit_code(result)


def _exit_code(result: SyncResult) -> int:
    if result.left:
        return EXIT_CONFLICTS
    return EXIT_FAILURES if result.failed else 0


class _Steps:
    """Prints each step, in JSON all of them."""

    def __init__(self, arguments: SyncArguments) -> None:
        self._arguments = arguments
        self._count = 0

    def __call__(self, step: Step) -> None:
        self._count += 1
        if self._arguments.as_json:
            fields = step._asdict() | {"sign": step.sign.value}
            emit("status", phase="sync", **fields)
        elif self._arguments.talks:
            if self._count <= _STEPS_LISTED:
                say(_line(step))
            elif self._count == _STEPS_LISTED + 1:
                say("  … and more; --json lists all")


def _line(step: Step) -> str:
    note = f"  ({step.note})" if step.note else ""
    path = visible(f"{step.file_path}  {step.repository}")
    return f"  {step.sign.value} {_ARROWS[step.to]} {visible(step.cache_type)} {path}{note}"


def _ask(question: Question) -> Choice:
    """Ask on the terminal."""
    facts, clash = question.facts, question.clash
    say(f"\n  ! {facts.cache_type} {visible(facts.file_path)}  {visible(facts.repository)}")
    say("    changed on both sides:")
    newer = clash.newest
    for letter, member, choice in (("A", clash.a, Choice.A), ("B", clash.b, Choice.B)):
        mark = ", the newer" if newer is choice else ""
        say(f"    {letter}: analysed {format_rfc3339(member.analyzed_at)}{mark}")
    for line in question.show():
        say(f"      {visible(line)}")
    while True:
        try:
            answer = input("    Keep [a], [b], both [k], or [s]kip? ").strip().lower()
        except EOFError:
            return Choice.LEAVE
        if answer[:1] in _ANSWERS:
            return _ANSWERS[answer[:1]]


def _tell(
    sync: CacheSync, result: SyncResult, arguments: SyncArguments, *, is_done: bool = True
) -> None:
    if arguments.talks:
        _say_result(result, dry_run=arguments.dry_run, is_done=is_done)
    _tell_failures(result, arguments)
    if arguments.as_json:
        _emit_summary(sync, result, arguments)


def _say_result(result: SyncResult, *, dry_run: bool, is_done: bool) -> None:
    if not is_done:
        say("\nWhat was done before:")
    else:
        say("\n✓ Nothing was written." if dry_run else "\n✓ Sync complete!")
    for letter, moved in (("A", result.a), ("B", result.b)):
        would = "would be " if dry_run else ""
        say(
            f"  {letter}: + {moved.added} {would}added, ~ {moved.changed} {would}replaced, "
            f"- {moved.deleted} {would}deleted"
        )
    say(f"  = Equal: {result.equal}")
    for name, count in (
        ("= Deleted on one side, kept on the other (--delete deletes them)", result.kept),
        ("! Conflicts resolved", result.resolved),
        ("! Conflicts left", result.left),
        ("Not meant, on one side only", result.filtered),
        ("Failed", result.failed),
    ):
        if count:
            say(f"  {name}: {count}")
    for path in result.trash:
        say(f"  What had to go is in {visible(path)}")


def _tell_failures(result: SyncResult, arguments: SyncArguments) -> None:
    if arguments.as_json:
        return
    for one in result.failures[:LISTED]:
        warn(f"  ✗ {visible(one.path)} ({visible(one.cache_type)}): {visible(one.reason)}")
    if result.failed > LISTED:
        warn(f"  … and {result.failed - LISTED} more")
    if arguments.quiet:
        return
    for path, text in result.notes[:_NOTES_LISTED]:
        warn(f"  Note: {visible(path)}: {visible(text)}")
    if len(result.notes) > _NOTES_LISTED:
        warn(f"  … and {len(result.notes) - _NOTES_LISTED} more notes")


def _emit_summary(sync: CacheSync, result: SyncResult, arguments: SyncArguments) -> None:
    a, b = sync.sides
    emit(
        "summary",
        a={"location": a.location, "kind": a.kind} | dataclasses.asdict(result.a),
        b={"location": b.location, "kind": b.kind} | dataclasses.asdict(result.b),
        dry_run=arguments.dry_run,
        first=result.is_first,
        equal=result.equal,
        kept=result.kept,
        resolved=result.resolved,
        left=result.left,
        filtered=result.filtered,
        failed=result.failed,
        failures=[one._asdict() for one in result.failures],
        notes=[{"path": path, "note": text} for path, text in result.notes],
        trash=result.trash,
        seconds=round(result.seconds, 3),
    )


class _Watcher:
    """Tells of a watch, and remembers all that was done; ``trouble`` is what it is stuck in."""

    def __init__(self, arguments: SyncArguments) -> None:
        self._arguments = arguments
        self._first = True
        self._told: tuple[object, ...] = ()
        self.total = SyncResult()
        self.trouble: RustAssistantError | None = None

    def synced(self, result: SyncResult) -> None:
        total = self.total
        for ours, theirs in ((total.a, result.a), (total.b, result.b)):
            _add(ours, theirs)
        total.resolved += result.resolved
        total.equal, total.kept, total.left = result.equal, result.kept, result.left
        total.filtered, total.failed = result.filtered, result.failed
        total.failures, total.notes = result.failures, result.notes
        total.trash += [path for path in result.trash if path not in total.trash]
        if self._first or result.did_something:
            self._say(f"in step: {result.equal} results")
        troubles = tuple(result.failures)
        if troubles and troubles != self._told:
            _tell_failures(dataclasses.replace(result, notes=[]), self._arguments)
        self._told = troubles
        self._first = False

    def troubled(self, error: RustAssistantError) -> None:
        self.trouble = error
        print_error(error, as_json=self._arguments.as_json)

    def recovered(self) -> None:
        self.trouble = None
        self._say("going on")

    def slowed(self, place: str, reason: str) -> None:
        self._say(f"{visible(place)} is looked at again and again: {reason}")

    def _say(self, text: str) -> None:
        if self._arguments.as_json:
            emit("status", phase="watch", message=text)
        elif self._arguments.talks:
            say(f"  {time.strftime('%H:%M:%S')} {text}")


def _add(total: Moved, more: Moved) -> None:
    total.added += more.added
    total.changed += more.changed
    total.deleted += more.deleted


def _watch(sync: CacheSync, stop: Stop, arguments: SyncArguments) -> int:
    watcher = _Watcher(arguments)
    watch(sync, watcher, stop, _NewSteps(arguments), forget=arguments.forget)
    trouble = watcher.trouble
    if trouble is not None:
        if arguments.talks:
            say("\nStopped before both sides were in step:")
        sys.stdout.flush()
        print_error(trouble, as_json=arguments.as_json)
    _tell(sync, watcher.total, arguments, is_done=trouble is None)
    sys.stdout.flush()
    return _exit_code(watcher.total) if trouble is None else trouble.exit_code


class _NewSteps(_Steps):
    """In a watch, what is left as it is would be told again by every sync."""

    def __init__(self, arguments: SyncArguments) -> None:
        super().__init__(arguments)
        self._left: set[Step] = set()

    def __call__(self, step: Step) -> None:
        if not step.to:
            if step in self._left:
                return
            self._left.add(step)
        super().__call__(step)
