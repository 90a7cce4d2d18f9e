"""What a worker does with a partition: read it, leave out what is not meant, encode the rest."""

from __future__ import annotations

import threading
from typing import Final

import msgspec

from rustassistant.codec import Dictionary, Encoder
from rustassistant.stores.base import Partition
from rustassistant.stores.outcomes import Failure, Outcome
from rustassistant.transfer.selection import ALL, Selection


class Terms(msgspec.Struct):
    """What a worker needs to know besides its partition. ``names_paths``: for a log of entries."""

    level: int
    dictionaries: list[Dictionary]
    selection: Selection = ALL
    names_paths: bool = False


class Batch(msgspec.Struct, array_like=True):
    """What became of a partition, as it travels back from a worker: quick to pack, small.

    ``records`` are as `PackedRecords` has them; ``paths`` are theirs, and ``others`` what was left
    out and why, if that is to be told; ``size`` is the bytes that all of it takes in the source.
    """

    records: msgspec.Raw = msgspec.Raw(b"\x90")
    failures: list[Failure] = msgspec.field(default_factory=list)
    problems: list[tuple[str, str]] = msgspec.field(default_factory=list)
    paths: list[str] = msgspec.field(default_factory=list)
    others: list[tuple[str, Outcome]] = msgspec.field(default_factory=list)
    unchanged: int = 0
    filtered: int = 0
    size: int = 0


pack_batch: Final = msgspec.msgpack.Encoder().encode
unpack_batch: Final = msgspec.msgpack.Decoder(Batch).decode


class _Own(threading.local):
    """The terms at hand in each thread, with an encoder for them: no two may share one."""

    packed = b""
    terms: Terms
    encoder: Encoder


_own: Final = _Own()


def _unpacked(packed: bytes) -> tuple[Terms, Encoder]:
    """Terms, and the encoder for them, which is made when they come for the first time."""
    if packed != _own.packed:
        terms = msgspec.msgpack.decode(packed, type=Terms)
        _own.terms = terms
        _own.encoder = Encoder(level=terms.level, dictionaries=terms.dictionaries)
        _own.packed = packed
    return _own.terms, _own.encoder


def forget_terms() -> None:
    """Let go of this thread's encoder, which holds some MiB, at the end of a run."""
    _own.__dict__.clear()


def encode_partition(packed_terms: bytes, partition: Partition) -> bytes:
    """A worker's task: a partition read and encoded, packed as a `Batch`."""
    terms, encoder = _unpacked(packed_terms)
    takes_all = not terms.selection.reads_entries and not terms.names_paths
    packing = encoder.packing(partition.folder.cache_type, takes_files=takes_all)
    batch = Batch()
    for item in partition.read(packing):
        if isinstance(item, Failure):
            batch.failures.append(item)
        elif takes_all or terms.selection.admits(item.entry):
            record = encoder.encode(item.entry, name=item.name, stamp=item.stamp)
            packing.append(record, item.size)
            batch.problems.extend((item.path, note) for note in item.notes)
            if terms.names_paths:
                batch.paths.append(item.path)
        else:
            batch.filtered += 1
            batch.size += item.size
            if terms.names_paths:
                batch.others.append((item.path, Outcome.FILTERED))
    batch.records = msgspec.Raw(packing.packed())
    batch.size += packing.size
    return pack_batch(batch)
