# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, freethreading_compatible=True
"""Rows of records that are the first of their identity, made many at a time.

Records come as they were packed, and no object is made of more of them than the rows need. It goes
as far as nothing is to be asked of the database: a record like one that came before, or of a
producer without a row, is left to ``sqlite.arrivals``.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t
from libc.string cimport memcmp

from rustassistant.native.entries cimport bytes_of, str_of
from rustassistant.native.msgpack cimport take_array
from rustassistant.native.packed cimport Record, past_any, past_record
from rustassistant.native.values cimport Span, Text, length_of

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

    cdef int count(self, int64_t producer, const Record* record, int64_t stored) except -1:
        """As ``totals.sums_of``."""
        cdef Sums* sums = self._group(producer, _month_of(record.analyzed_at))
        cdef int64_t tokens = 0
        if not record.has_no_tokens and 0 <= record.tokens_used <= self._most_tokens:
            tokens = record.tokens_used
        elif not record.has_usage:
            sums.without_tokens += 1
        sums.entries += 1
        sums.tokens += tokens
        if record.has_usage:
            sums.input_tokens += record.input_tokens
            sums.output_tokens += record.output_tokens
        else:
            sums.assumed_tokens += tokens
        sums.text_bytes += record.result_size
        sums.stored_bytes += stored
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


cdef inline object _int_of(int64_t value, bint is_nil):
    return None if is_nil else value


cdef inline object _bytes_of(Span span):
    return None if span.start == NULL else bytes_of(span)


cdef object _file_with(list rows, size):
    """The id of the row with that size, or None. Rows are (size, id)."""
    for known in rows:
        if (<tuple>known)[0] == size:
            return (<tuple>known)[1]
    return None


cdef inline Py_ssize_t _byte_of(Text digest) noexcept nogil:
    """Where `sqlite.owners` has the bit of a digest."""
    return digest[0] << 13 | digest[1] << 5 | digest[2] >> 3


cdef class Arriving:
    """Records on their way into a folder of a repository all of whose files are known.

    ``packed`` is a msgpack array of them, ``ids`` are the `Identifiers`; ``owners`` tells who holds
    results by digest, and ``prefixes`` has a bit for each digest that somebody may hold, or is None
    where that can't be told; ``add_sums`` is `totals.Totals.add`, ``crc32`` zlib's.
    """

    cdef readonly Py_ssize_t position  # of the record that comes next
    cdef bytes _packed
    cdef Text _at
    cdef Text _end
    cdef int64_t _count
    cdef object _ids
    cdef list _new_files
    cdef dict _owners
    cdef bytearray _prefixes
    cdef object _crc32
    cdef object _cache_type
    cdef object _folder_id
    cdef int64_t _repository_id
    cdef _Totals _totals
    cdef bytes _request  # of the record before, with whose id it has and what keys it makes
    cdef object _producer_id
    cdef object _key

    def __cinit__(
        self,
        bytes packed not None,
        *,
        ids,
        dict owners not None,
        bytearray prefixes,
        add_sums,
        int64_t most_tokens,
        crc32,
        cache_type,
        folder_id,
        int64_t repository_id,
    ):
        self._packed = packed
        self._at = <Text>PyBytes_AS_STRING(packed)
        self._end = self._at + PyBytes_GET_SIZE(packed)
        self._at = take_array(self._at, self._end, &self._count)
        self._ids = ids
        self._new_files = ids.new_files.values
        self._owners = owners
        self._prefixes = prefixes
        self._crc32 = crc32
        self._cache_type = cache_type
        self._folder_id = folder_id
        self._repository_id = repository_id
        self._totals = _Totals(folder_id, add_sums, most_tokens)

    def may_be_held(self):
        """Digests of results that somebody may hold who is not known; None if that can't be told
        of all."""
        cdef Text at = self._at
        cdef Record record
        cdef list found = []
        while at != NULL and at != self._end:
            at = past_record(at, self._end, &record)
            if at == NULL:
                return None
            if self._may_be_held(record.digest.start):
                digest = bytes_of(record.digest)
                if digest not in self._owners:
                    found.append(digest)
        return found

    cdef bint _may_be_held(self, Text digest):
        if self._prefixes is None:
            return True
        return PyByteArray_AS_STRING(self._prefixes)[_byte_of(digest)] >> (digest[2] & 7) & 1

    def pass_over(self):
        """Go on behind the record that comes next."""
        self._at = past_any(self._at, self._end)
        self.position += 1

    def add_first(self, list values not None, set files_of_rows not None, int64_t next_entry):
        """Make rows of records for as long as each is the first of its identity.

        ``values`` are those of rows to be inserted, one behind the other, and ``files_of_rows`` the
        ids of their files; gives the next entry's id.
        """
        cdef Text behind
        cdef Record record
        while self.position < self._count:
            behind = past_record(self._at, self._end, &record)
            if behind == NULL or not self._is_of_known_producer(&record):
                break
            file_id = self._file(&record)
            if file_id is None:
                break
            values += self._row(&record, next_entry, file_id)
            files_of_rows.add(file_id)
            next_entry += 1
            self.position += 1
            self._at = behind
        self._totals.tell()
        return next_entry

    cdef bint _is_of_known_producer(self, const Record* record) except -1:
        cdef Py_ssize_t size = length_of(record.request)
        if (
            self._request is not None
            and PyBytes_GET_SIZE(self._request) == size
            and memcmp(PyBytes_AS_STRING(self._request), record.request.start, size) == 0
        ):
            return True
        self._request = None
        self._producer_id = (<dict>self._ids.producers).get((
            str_of(record.provider),
            str_of(record.model),
            None if record.prompt_hash.start == NULL else str_of(record.prompt_hash),
            _int_of(record.schema_version, record.has_no_version),
        ))
        if self._producer_id is None:
            return False
        self._key = self._ids.key_of[self._producer_id]
        self._request = bytes_of(record.request)
        return True

    cdef object _file(self, const Record* record):
        """The id of a record's file, whose row is made if need be; None if an entry with the
        record's identity came before, and nothing was noted."""
        cdef dict files = self._ids.files
        cdef set seen = self._ids.seen
        cdef list known
        path, content = str_of(record.file_path), bytes_of(record.file_hash)
        size = _int_of(record.file_size, record.has_no_size)
        where = (path, content)
        known = files.get(where)
        file_id = None if known is None else _file_with(known, size)
        made = self._ids.next_file if file_id is None else file_id
        first = made if known is None else (<tuple>known[0])[1]
        identity = (first, self._cache_type, self._key)
        if identity in seen:
            return None
        seen.add(identity)
        if file_id is None:
            self._ids.next_file = made + 1
            self._new_files += (
                made, self._repository_id, path, content, size, self._place(record.file_path)
            )
            if known is None:
                files[where] = [(size, made)]
            else:
                known.append((size, made))
        return made

    cdef int64_t _place(self, Span path) except? -1:
        """As `sqlite.schema.place_of`."""
        cdef int64_t checksum = self._crc32(bytes_of(path), self._repository_id)
        return (checksum >> 16) - 2**15

    cdef tuple _row(self, const Record* record, int64_t entry_id, file_id):
        cdef bytes digest = bytes_of(record.digest)
        cdef int64_t stored = 0
        cdef object entry = entry_id, result = None
        owner = self._owners.setdefault(digest, entry)
        if owner == entry:
            owner = None
            result = bytes_of(record.result)
            stored = length_of(record.result)
            if self._prefixes is not None:
                PyByteArray_AS_STRING(self._prefixes)[_byte_of(record.digest.start)] |= (
                    1 << (record.digest.start[2] & 7)
                )
        self._totals.count(self._producer_id, record, stored)
        return (
            entry,
            file_id,
            self._folder_id,
            self._producer_id,
            record.analyzed_at,
            _int_of(record.tokens_used, record.has_no_tokens),
            result,
            owner,
            digest,
            _int_of(record.dictionary_id, record.has_no_dictionary),
            None,
            _bytes_of(record.name),
            _int_of(record.stamp, record.has_no_stamp),
            record.seal,
        )
