# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, freethreading_compatible=True
"""Rows of records that are the first of their identity, made many at a time.

It goes as far as nothing is to be asked of the database: a record like one that came before, or of
a producer without a row, is left to ``sqlite.arrivals``, as is all that comes after it.
"""

from libc.stdint cimport int64_t

cdef enum:
    GROUPS = 64

cdef int64_t DAY = 86_400_000_000_000  # in nanoseconds


cdef struct Sums:  # as `rustassistant.stores.sqlite.totals.Sums`, with whose they are
    int64_t producer
    int64_t month
    int64_t entries
    int64_t tokens
    int64_t assumed_tokens
    int64_t without_tokens
    int64_t input_tokens
    int64_t output_tokens
    int64_t text_bytes
    int64_t stored_bytes


cdef int64_t _month_of(int64_t analyzed_at) noexcept nogil:
    """As ``totals.month_of``: ``civil_from_days`` of Howard Hinnant, without the day."""
    cdef int64_t day = analyzed_at // DAY - (analyzed_at % DAY < 0) + 719_468
    cdef int64_t era = day // 146_097  # never below 0 in 64 bits of nanoseconds
    cdef int64_t of_era = day % 146_097
    cdef int64_t year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    cdef int64_t of_year = of_era - (365 * year + year // 4 - year // 100)
    cdef int64_t month = (5 * of_year + 2) // 153  # from March on
    year += era * 400
    if month < 10:
        return year * 12 + month + 2
    return (year + 1) * 12 + month - 10


cdef class _Totals:
    """Adds up what entries of a folder come to, and tells ``add`` of it."""

    cdef Sums[GROUPS] _groups
    cdef int _count
    cdef object _folder
    cdef object _add
    cdef int64_t _most_tokens

    def __cinit__(self, folder, add, int64_t most_tokens):
        self._folder = folder
        self._add = add
        self._most_tokens = most_tokens

    cdef Sums* _group(self, int64_t producer, int64_t month) except NULL:
        cdef int position
        for position in range(self._count):
            if self._groups[position].month == month:
                if self._groups[position].producer == producer:
                    return &self._groups[position]
        if self._count == GROUPS:
            self.tell()
        self._groups[self._count] = Sums(producer, month, 0, 0, 0, 0, 0, 0, 0, 0)
        self._count += 1
        return &self._groups[self._count - 1]

    cdef int count(self, int64_t producer, record, int64_t stored_bytes) except -1:
        """As ``totals.sums_of``."""
        cdef Sums* sums = self._group(producer, _month_of(record.analyzed_at))
        cdef int64_t tokens = 0
        tokens_used, usage = record.tokens_used, record.usage
        if tokens_used is not None and 0 <= tokens_used <= self._most_tokens:
            tokens = tokens_used
        elif usage is None:
            sums.without_tokens += 1
        sums.entries += 1
        sums.tokens += tokens
        if usage is None:
            sums.assumed_tokens += tokens
        else:
            sums.input_tokens += usage[0]
            sums.output_tokens += usage[1]
        sums.text_bytes += record.result_size
        sums.stored_bytes += stored_bytes
        return 0

    cdef int tell(self) except -1:
        cdef Sums one
        cdef int position
        for position in range(self._count):
            one = self._groups[position]
            self._add(
                (self._folder, one.producer, one.month),
                (
                    one.entries,
                    one.tokens,
                    one.assumed_tokens,
                    one.without_tokens,
                    one.input_tokens,
                    one.output_tokens,
                    one.text_bytes,
                    one.stored_bytes,
                ),
            )
        self._count = 0
        return 0


cdef object _file_with(list rows, size):
    """The id of the row with that size, or None. Rows are (size, id)."""
    for known in rows:
        if (<tuple>known)[0] == size:
            return (<tuple>known)[1]
    return None


def add_first(
    list records not None,
    Py_ssize_t start,
    *,
    ids,
    owner_of,
    place_of,
    add_sums,
    most_tokens,
    cache_type,
    folder_id,
    repository_id,
    list rows not None,
    set files_of_rows not None,
    int64_t next_entry,
):
    """Make rows of ``records`` from ``start`` on; tell how far that went, and the next entry's id.

    ``ids`` are the `Identifiers` of a repository all of whose files are known; ``owner_of``,
    ``place_of`` and ``add_sums`` are `Owners.add`, `schema.place_of` and `totals.Totals.add`.
    """
    cdef _Totals totals = _Totals(folder_id, add_sums, most_tokens)
    cdef dict files = ids.files, producers = ids.producers, key_of = ids.key_of
    cdef set seen = ids.seen
    cdef list new_files = ids.new_files, known
    cdef int64_t next_file = ids.next_file, stored
    cdef Py_ssize_t position = start
    for position in range(start, len(records)):
        record = records[position]
        producer_id = producers.get(
            (record.provider, record.model, record.prompt_hash, record.schema_version)
        )
        if producer_id is None:
            break
        path, content, size = record.file_path, record.file_hash, record.file_size
        known = files.get((path, content))
        file_id = None if known is None else _file_with(known, size)
        first = next_file if known is None else (<tuple>known[0])[1]
        identity = (first, cache_type, key_of[producer_id])
        if identity in seen:
            break
        seen.add(identity)
        if file_id is None:
            file_id = next_file
            next_file += 1
            new_files.append(
                (file_id, repository_id, path, content, size, place_of(repository_id, path))
            )
            if known is None:
                files[path, content] = [(size, file_id)]
            else:
                known.append((size, file_id))
        entry_id = next_entry
        next_entry += 1
        digest, result, original = record.result_digest, record.result, record.original
        owner = owner_of(digest, entry_id)
        shared = owner != entry_id
        if shared:
            result = None
        files_of_rows.add(file_id)
        rows.append(
            (
                entry_id,
                file_id,
                folder_id,
                producer_id,
                record.analyzed_at,
                record.tokens_used,
                result,
                owner if shared else None,
                digest,
                record.dictionary_id,
                original,
                record.name,
                record.stamp,
                record.seal,
            )
        )
        stored = 0 if result is None else len(result)
        if original is not None:
            stored += len(original)
        totals.count(producer_id, record, stored)
    else:
        position = len(records)
    totals.tell()
    ids.next_file = next_file
    return position, next_entry
