"""``rustassistant cache verify``: what was compared, what differs, and the digest of it all."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rustassistant.cli.audience import Audience
from rustassistant.cli.counting import counting
from rustassistant.cli.exits import EXIT_DIFFERENCES, EXIT_FAILURES
from rustassistant.cli.places import home
from rustassistant.cli.problems import warn_each
from rustassistant.cli.render import emit, say, visible, warn
from rustassistant.cli.stopping import Stop, cut_short
from rustassistant.results import Verification
from rustassistant.stores.base import printable
from rustassistant.verification import CacheVerifier, Resumption


@dataclass(frozen=True, slots=True)
class VerifyOptions(Audience):
    """What the command line asked for."""

    sources: tuple[str, ...]
    destination: str
    sample: str | None
    seed: int | None
    fresh: bool
    jobs: int | None


@cut_short("interrupted; nothing was changed")
def run_verification(options: VerifyOptions) -> int:
    """Compare, tell what was found, return the exit code."""
    stop = Stop()
    verifier = CacheVerifier(
        options.sources,
        options.destination,
        sample=options.sample,
        seed=options.seed,
        progress_kept_in=home() / "verify",
        jobs=options.jobs,
        cancelled=stop,
    )
    if options.talks:
        say("🔍 Verifying")
        for place in verifier.sources:
            say(f"  Source: {visible(printable(place))}")
        say(f"  Destination: {visible(printable(verifier.destination))}")
    if not options.fresh:
        _tell_resumption(verifier.resume(), options)
    started = time.monotonic()
    with stop.listening(), counting("verify", options) as count:
        try:
            verification = verifier.verify(count)
        finally:
            if verifier.progress_problem:
                warn(
                    "  Note: how far this came could not be remembered in "
                    f"{visible(printable(home()))}: {visible(verifier.progress_problem)}"
                )
    _tell_problems(verification, options)
    if options.talks:
        _say_result(verifier, verification, options)
    if options.as_json:
        _emit_summary(verifier, verification, options, time.monotonic() - started)
    if not verification.passed:
        return EXIT_DIFFERENCES
    return EXIT_FAILURES if verification.failures else 0


def _tell_resumption(found: Resumption, options: VerifyOptions) -> None:
    if options.as_json:
        if found != Resumption():
            emit(
                "status",
                phase="resume",
                compared=found.compared,
                total=found.total,
                why_anew=found.why_anew or None,
            )
    elif found.why_anew and options.talks:
        say(f"  Beginning anew after an interrupted run: {visible(found.why_anew)}")
    elif found.compared and options.talks:
        say(
            f"  Going on after {found.compared:,} of {found.total:,} entries that an interrupted "
            "run compared; --fresh compares them again"
        )


def _tell_problems(verification: Verification, options: VerifyOptions) -> None:
    failures = [(one.file_path, one.cache_type, one.error) for one in verification.failures]
    differences = [(one.path, one.cache_type, one.what) for one in verification.differences]
    for kind, problems, what in (
        ("unreadable", failures, "of the source can't be read, and could not be compared"),
        ("difference", differences, "differ"),
    ):
        if options.as_json:
            for path, cache_type, text in problems:
                emit("error", kind=kind, file_path=path, cache_type=cache_type, error=text)
        elif problems:
            noun = "entry" if len(problems) == 1 else "entries"
            verb = what if what != "differ" or len(problems) > 1 else "differs"
            warn(f"\n✗ {len(problems)} {noun} {verb}:")
            warn_each((f"{path}: {text}" for path, _, text in problems), len(problems))


def _say_result(
    verifier: CacheVerifier, verification: Verification, options: VerifyOptions
) -> None:
    compared = verification.compared
    say("\n✓ Verification passed!" if verification.passed else "\n✗ Verification failed!")
    if options.sample is None:
        say(f"  Compared: {compared}")
    else:
        say(f"  Compared: a sample of {compared} of {verifier.population} entries")
        say(f"  Seed: {verifier.seed}")
    if verification.total_removed:
        say(f"  Held, but superseded or removed: {verification.total_removed}")
    say(f"  Differing: {len(verification.differences)}")
    say(f"  Unreadable: {len(verification.failures)}")
    of = "sampled entries" if options.sample is not None else "entries"
    say(f"  Digest of {compared:,} {of}: {verification.digest}")
    if verification.total_removed:
        answering = compared - verification.total_removed
        say(f"  Digest of the {answering:,} that answer: {verification.digest_answering}")
    if not verification.passed:
        warn(
            "  Hint: the source is as it was; migrate it again, into a new file if this one is "
            "damaged."
        )


def _emit_summary(
    verifier: CacheVerifier, verification: Verification, options: VerifyOptions, seconds: float
) -> None:
    sampled = options.sample is not None
    emit(
        "summary",
        sources=[printable(place) for place in verifier.sources],
        destination=printable(verifier.destination),
        verified=verification.passed and not verification.failures,
        compared=verification.compared,
        resumed=verification.total_resumed,
        removed=verification.total_removed,
        differences=len(verification.differences),
        unreadable=len(verification.failures),
        digest=None if sampled else verification.digest,
        digest_answering=None if sampled else verification.digest_answering,
        sample=None
        if not sampled
        else {
            "asked": options.sample,
            "seed": verifier.seed,
            "population": verifier.population,
            "digest": verification.digest,
        },
        seconds=round(seconds, 3),
    )
