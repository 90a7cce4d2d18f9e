"""What a worker does with a partition: read it, leave out what is not meant, encode the rest."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec

from rustassistant.codec import Dictionary, Encoder, Record
from rustassistant.stores.base import Found, Partition
from rustassistant.stores.outcomes import Failure, Outcome
from rustassistant.transfer.ahead import read_ahead
from rustassistant.transfer.selection import ALL, Selection


class Terms(msgspec.Struct):
    """What a worker needs to know besides its partition. ``names_paths``: for a log of entries."""

    level: int
    dictionaries: list[Dictionary]
    selection: Selection = ALL
    names_paths: bool = False


class Batch(msgspec.Struct, array_like=True):
    """What became of a partition, as it travels back from a worker: quick to pack, small.

    ``paths`` are those of ``records``, and ``others`` what was left out and why, if that is to be
    told; ``size`` is the bytes that all of it takes in the source.
    """

    records: list[Record]
    failures: list[Failure]
    problems: list[tuple[str, str]]
    paths: list[str]
    others: list[tuple[str, Outcome]]
    unchanged: int = 0
    filtered: int = 0
    size: int = 0


pack_batch: Final = msgspec.msgpack.Encoder().encode
unpack_batch: Final = msgspec.msgpack.Decoder(Batch).decode


@lru_cache(maxsize=1)
def _terms(packed: bytes) -> tuple[Terms, Encoder]:
    """Those of the run at hand, with the encoder for them, made once in each worker."""
    terms = msgspec.msgpack.decode(packed, type=Terms)
    return terms, Encoder(level=terms.level, dictionaries=terms.dictionaries)


def encode_partition(packed_terms: bytes, partition: Partition) -> bytes:
    """A worker's task: a partition read and encoded, packed as a `Batch`."""
    terms, encoder = _terms(packed_terms)
    takes_all = not terms.selection.reads_entries and not terms.names_paths
    batch = Batch([], [], [], [], [])
    for ahead in read_ahead(partition.read()):
        done = 0
        while done < len(ahead):
            if takes_all:
                done, size = encoder.encode_usual(ahead, done, batch.records, found=Found)
                batch.size += size
            if done < len(ahead):
                _add(batch, ahead[done], terms, encoder)
                done += 1
    return pack_batch(batch)


def _add(batch: Batch, item: Found | Failure, terms: Terms, encoder: Encoder) -> None:
    if isinstance(item, Failure):
        batch.failures.append(item)
        return
    batch.size += item.size
    if not terms.selection.reads_entries or terms.selection.admits(item.entry):
        batch.records.append(encoder.encode(item.entry, name=item.name, stamp=item.stamp))
        batch.problems.extend((item.path, note) for note in item.notes)
        if terms.names_paths:
            batch.paths.append(item.path)
        return
    batch.filtered += 1
    if terms.names_paths:
        batch.others.append((item.path, Outcome.FILTERED))
