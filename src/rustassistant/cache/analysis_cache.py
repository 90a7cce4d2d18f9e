"""`AnalysisCache`: what programs open, ask and fill."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final, ParamSpec, Unpack

from rustassistant.cache.cached import CachedAnalysis, CacheStatistics
from rustassistant.cache.computing import Computation
from rustassistant.cache.decorator import Call, Subject, decorated
from rustassistant.cache.results import to_text
from rustassistant.cache.serving import Served, Unserved
from rustassistant.cache.wording import (
    Content,
    Path,
    Words,
    entry_of,
    filter_of,
    wanted_of,
)
from rustassistant.entry import Entry
from rustassistant.errors import UsageError
from rustassistant.stores.live import Filter, Wanted

PATIENCE_SECONDS: Final = 30.0
MEMORY_BYTES: Final = 32 * 2**20
CLAIM_SECONDS: Final = 900.0

DISABLED: Final = "RUSTASSISTANT_CACHE_DISABLED"
_NO: Final = frozenset(("", "0", "false", "no", "off"))

_P = ParamSpec("_P")


class AnalysisCache:
    """A cache of analyses, by path or URL (``sqlite:PATH``): one object for a whole program.

    It may be used by any number of threads at once, and by any number of processes, each with an
    object of its own or one that came through a fork. None as the place, ``enabled=False``, or
    ``RUSTASSISTANT_CACHE_DISABLED=1`` makes one in which nothing is found or kept.

    ``repository`` stands for what calls leave out (then the working directory).
    ``write_timeout`` is how many seconds `set` and `delete` wait while somebody else, such as a
    migration, holds the database; `set` then keeps the result beside it. ``claim_timeout`` is how
    many seconds `get_or_compute` waits for another's computation before it computes by itself.
    ``memory`` is how many bytes of results are kept for those who ask again. Where ``max_size`` is
    configured, what was used longest ago goes to the trash when that is exceeded.

    Raises what is wrong with the place: ForeignFileError, NewerFileError, UnsafePlaceError, …
    """

    def __init__(
        self,
        place: Path | None,
        *,
        enabled: bool = True,
        repository: Path | None = None,
        write_timeout: float = PATIENCE_SECONDS,
        claim_timeout: float = CLAIM_SECONDS,
        memory: int = MEMORY_BYTES,
    ) -> None:
        disabled = os.environ.get(DISABLED, "").strip().lower() not in _NO
        self.enabled = enabled and place is not None and not disabled
        self._repository = _working_directory() if repository is None else os.fspath(repository)
        self._served: Served | Unserved
        if self.enabled and place is not None:
            self._served = Served(
                place, patience=write_timeout, memory=memory, claim_timeout=claim_timeout
            )
        else:
            self._served = Unserved(claim_timeout=claim_timeout)

    def __enter__(self) -> AnalysisCache:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()

    def close(self) -> None:
        """Write what was counted, close the database. The program's end does it if nobody has."""
        self._served.close()

    def get(
        self,
        *,
        type: str,
        content: Content | None = None,
        file_hash: str | bytes | None = None,
        model: str | None = None,
        prompt: str | None = None,
        prompt_hash: str | None = None,
        schema_version: int | None = None,
        exact: bool = False,
        provider: str | None = None,
        repository: Path | None = None,
        file_path: Path | None = None,
    ) -> CachedAnalysis | None:
        """The result for a file's content, given as text, bytes or its hash; None for a miss.

        What is left out is not compared. Where a prompt is named and nothing has it, an entry from
        before prompts were recorded answers, unless ``exact``. Among several the one for
        ``repository`` and ``file_path`` is preferred, then the newest. A damaged entry is a miss,
        with a `DamagedEntryWarning`.
        """
        wanted = wanted_of(
            type, content, file_hash, model, prompt, prompt_hash, schema_version, exact, provider,
            repository, file_path,
        )  # fmt: skip
        answer = self._served.find(wanted)
        self._served.count(answer, wanted)
        return None if answer is None else CachedAnalysis(answer)

    def set(
        self,
        *,
        type: str,
        file_path: Path,
        provider: str,
        model: str,
        result: Any,
        content: Content | None = None,
        file_hash: str | bytes | None = None,
        repository: Path | None = None,
        prompt: str | None = None,
        prompt_hash: str | None = None,
        schema_version: int | None = None,
        tokens_used: int | None = None,
        file_size: int | None = None,
        analyzed_at: int | None = None,
    ) -> None:
        """Keep a result, which is anything JSON. When this returns, it survives a power cut.

        It answers from now on for its file, type, model, prompt and schema version; what answered
        before goes to the trash. Without a prompt its hash is ``default``. ``analyzed_at``, in
        nanoseconds since 1970 UTC, is for results from elsewhere: the newest answers.
        Raises UnsuitableResultError for what JSON would not give back as it was.
        """
        self._served.keep(
            self._entry(
                type=type,
                repository=repository,
                file_path=file_path,
                content=content,
                file_hash=file_hash,
                file_size=file_size,
                provider=provider,
                model=model,
                prompt=prompt,
                prompt_hash=prompt_hash,
                schema_version=schema_version,
                tokens_used=tokens_used,
                analyzed_at=analyzed_at,
                result=to_text(result),
            ),
            set_now=analyzed_at is None,
        )

    def _entry(self, *, repository: Path | None, **parts: Any) -> Entry:
        return entry_of(repository=repository or self._repository, **parts)

    def get_or_compute(
        self,
        *,
        compute: Callable[[], Any],
        type: str,
        file_path: Path,
        provider: str,
        model: str,
        content: Content | None = None,
        file_hash: str | bytes | None = None,
        repository: Path | None = None,
        prompt: str | None = None,
        prompt_hash: str | None = None,
        schema_version: int | None = None,
        exact: bool = False,
        file_size: int | None = None,
    ) -> CachedAnalysis:
        """The result if it is there; else what ``compute()`` returns, which is kept.

        ``compute`` takes nothing and returns the result, or a `Computed` that says what it took.
        Among all threads and processes that ask for the same it is called once; the others wait.
        If it raises, so does this, and the next one computes. What was computed is returned even
        where it cannot be kept, which is then logged. The provider is recorded, not compared: keys
        are made of content, model, prompt and schema version.
        """
        if inspect.iscoroutinefunction(compute):
            raise UsageError("compute is a coroutine function", hint="Decorate it with `analysis`.")
        computation = self._computation(
            type=type,
            file_path=file_path,
            provider=provider,
            model=model,
            content=content,
            file_hash=file_hash,
            repository=repository,
            prompt=prompt,
            prompt_hash=prompt_hash,
            schema_version=schema_version,
            exact=exact,
            file_size=file_size,
        )
        return computation.run(compute)

    def _computation(
        self, *, exact: bool, may_keep: Callable[[], bool] | None = None, **parts: Any
    ) -> Computation:
        def make_entry(text: bytes, tokens_used: int | None) -> Entry:
            return self._entry(result=text, tokens_used=tokens_used, analyzed_at=None, **parts)

        asked = make_entry(b"", None)  # checks all words before anything is paid for
        wanted = Wanted(
            asked.cache_type,
            asked.file_hash,
            asked.model,
            asked.prompt_hash,
            asked.schema_version,
            bool(exact),
            None,
            asked.repository,
            asked.file_path,
        )
        return Computation(self._served, wanted, make_entry, may_keep)

    def analysis(
        self,
        *,
        type: str,
        provider: str,
        model: str,
        prompt: str | Callable[..., str] | None = None,
        prompt_hash: str | None = None,
        schema_version: int | None = None,
        exact: bool = False,
        repository: Path | None = None,
        ignore: Collection[str] = (),
    ) -> Callable[[Callable[_P, Any]], Callable[_P, Any]]:
        """Decorate a function that analyses a file, so that it is called once for each content.

        Its first argument is the file's path, or its content as bytes (then an argument named
        ``file_path`` says where it lies). Further arguments need a ``prompt`` that is a function
        of the same arguments, since results that depend on them must not share a key; those that
        make no difference, such as a client, are named in ``ignore``. It may be a coroutine
        function. It returns the result, or a `Computed`; whoever calls gets the result alone. If
        the file changes while it is analysed, the result is returned and not kept.
        """
        root = self._repository if repository is None else os.fspath(repository)

        def begin(
            subject: Subject, prompt: str | None, may_keep: Callable[[], bool]
        ) -> Computation:
            return self._computation(
                type=type,
                file_path=subject.file_path,
                provider=provider,
                model=model,
                content=subject.content,
                file_hash=None,
                repository=root,
                prompt=prompt,
                prompt_hash=prompt_hash,
                schema_version=schema_version,
                exact=exact,
                file_size=None,
                may_keep=may_keep,
            )

        return lambda function: decorated(function, Call(function, prompt, ignore, root), begin)

    def delete(self, **words: Unpack[Words]) -> int:
        """Let the entries that `entries` would list answer no more; return how many they were.

        They go to the trash. At least one word must be given. Raises LockedError if somebody else
        holds the database for longer than ``write_timeout``.
        """
        chosen = filter_of(**words)
        if chosen == Filter():
            raise UsageError("nothing says what to delete", hint="Name at least a type.")
        return self._served.remove(chosen)

    def entries(self, **words: Unpack[Words]) -> Iterator[CachedAnalysis]:
        """All entries, or those equal in every part that is given: ``type``, ``content`` or its
        ``file_hash``, ``model``, ``prompt`` or ``prompt_hash``, ``schema_version``, ``provider``,
        ``repository``, ``file_path``. Counts as no use.

        They are read some at a time: what is set or deleted meanwhile may or may not be among
        them. Damaged ones are left out, each with a `DamagedEntryWarning`.
        """
        return self._served.list(filter_of(**words))

    def __iter__(self) -> Iterator[CachedAnalysis]:
        return self._served.list(Filter())

    def statistics(self) -> CacheStatistics:
        """Hits and misses of all programs, those that this one has not written yet included."""
        return self._served.statistics()

    def flush(self) -> None:
        """Write what was counted so far, if nobody holds the database. Happens by itself."""
        self._served.flush()

    def __repr__(self) -> str:
        return f"<AnalysisCache {self._served!r}>"


def _working_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was removed
        return os.sep
