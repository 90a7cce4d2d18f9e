"""Entries' files that are just as the Rust program prints them, taken apart in one pass."""

Parts = tuple[
    str,
    bytes,
    int,
    str,
    str,
    str | None,
    int | None,
    bytes,
    int | None,
    int | None,
    str | None,
    str,
]
"""``file_path``, ``file_hash``, ``analyzed_at``, ``provider``, ``model``, ``prompt_hash``,
``schema_version``, ``result``, ``tokens_used`` and ``file_size`` as in `rustassistant.entry.Entry`;
then the ``cache_key``, 32 hex digits or None, and the ``cache_type`` that the file gives, which are
held against nothing."""

def take_apart(text: bytes) -> Parts | None:
    """The fields of an entry's file, its result without white space; None for any other text."""
