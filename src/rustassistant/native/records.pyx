# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, freethreading_compatible=True
"""Records of files, made in one go: read, taken apart, encoded and packed, many at a time.

No object is made of what an entry says but its result, where that has to be compressed. Whatever
is out of the ordinary with a file, ``native.reading`` declines, and what it says is left to Python.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.string cimport memcmp

from rustassistant.native.entries cimport HASH_BYTES, Fields, bytes_of, find_fields, unhex
from rustassistant.native.files cimport Status, stamp_of
from rustassistant.native.msgpack cimport (
    HEAD, Out, int64_t, memcpy, put_array, put_bytes, put_if_any, put_int, put_nil, put_text
)
from rustassistant.native.packed cimport COLUMNS
from rustassistant.native.reading cimport (
    LARGEST, has_its_key, is_fresh, is_usual_name, read_file
)
from rustassistant.native.values cimport Span, length_of


cdef extern from "Python.h":
    bytes PyUnicode_EncodeFSDefault(object text)


cdef enum:
    AHEAD = 1024 * 1024  # bytes of files; of compressing, all together is quicker
    FILES_AHEAD = 512
    KEPT = 4 * 1024 * 1024  # bytes of room: few partitions need more, and it is not for good
    SEALED = 11  # of these and the type, with which they begin

cdef int64_t SIGN = 1 << 31

cdef struct Taken:  # a file that is read
    Fields fields
    int64_t size
    int64_t stamp
    bint is_fresh


cdef inline Out _put_text_of(Out at, bytes text):
    return put_text(at, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))


cdef inline Out _put_span(Out at, Span span) noexcept nogil:
    return put_text(at, span.start, span.stop - span.start)


cdef inline Out _put_object(Out at, bytes data):
    return put_bytes(at, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


cdef Out _put_columns(Out at, const Fields* fields) noexcept nogil:
    """What stands first in a record, and in what its seal is over."""
    cdef unsigned char[HASH_BYTES] content
    unhex(fields.file_hash, content)
    at = _put_span(at, fields.file_path)
    at = put_bytes(at, content, HASH_BYTES)
    at = put_if_any(at, fields.file_size)
    at = _put_span(at, fields.provider)
    at = _put_span(at, fields.model)
    if fields.cache_key.start == NULL:
        at = put_nil(put_nil(at))
    else:
        at = _put_span(at, fields.prompt_hash)
        at = put_int(at, fields.schema_version)
    at = put_int(at, fields.moment)
    return put_if_any(at, fields.tokens_used)


cdef class Packer:
    """Packs records one behind the other, as `rustassistant.records.RecordList` does.

    ``sha256`` is hashlib's, ``crc32`` zlib's; ``pack`` makes msgpack of a record.
    """

    cdef readonly int64_t size
    cdef object _sha256
    cdef object _crc32
    cdef object _pack
    cdef Py_ssize_t _digest_bytes
    # What `begin` says.
    cdef bytes _cache_type
    cdef object _head  # the checksum of what a seal begins with
    cdef int64_t _dictionary_id
    cdef dict _known
    cdef object _compressed
    # Files that are read, and their names where these are not the usual ones.
    cdef Taken* _taken
    cdef Py_ssize_t _count
    cdef list _names
    cdef unsigned char* _texts
    cdef unsigned char* _results
    cdef Py_ssize_t _used
    # Records that are made.
    cdef unsigned char* _packed
    cdef Py_ssize_t _room
    cdef Py_ssize_t _packed_size
    cdef Py_ssize_t _records

    def __cinit__(self, *, sha256, crc32, pack, Py_ssize_t digest_bytes):
        self._sha256 = sha256
        self._crc32 = crc32
        self._pack = pack
        self._digest_bytes = digest_bytes
        self._names = []
        self._taken = <Taken*>PyMem_Malloc(FILES_AHEAD * sizeof(Taken))
        self._texts = <unsigned char*>PyMem_Malloc(AHEAD + LARGEST + 1)
        self._results = <unsigned char*>PyMem_Malloc(AHEAD + LARGEST + 1)
        if self._taken == NULL or self._texts == NULL or self._results == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_Free(self._taken)
        PyMem_Free(self._texts)
        PyMem_Free(self._results)
        PyMem_Free(self._packed)

    def begin(self, cache_type, dictionary_id, dict known not None, compressed):
        """Forget all records, and take entries of one type from now on.

        ``known`` are results by digest, and ``compressed`` makes those that are not, as
        `codec.Encoder` does.
        """
        cdef bytes kind = str(cache_type).encode()
        cdef Out start, at
        self._names.clear()
        self._count = self._used = self._packed_size = self._records = self.size = 0
        if self._room > KEPT:
            PyMem_Free(self._packed)
            self._packed, self._room = NULL, 0
        start = self._room_for(len(kind) + 2 * HEAD)
        at = _put_text_of(put_array(start, SEALED), kind)
        self._head = self._crc32(PyBytes_FromStringAndSize(<char*>start, at - start))
        self._cache_type = kind
        self._dictionary_id = -1 if dictionary_id is None else dictionary_id
        self._known = known
        self._compressed = compressed

    def take(self, int directory, tuple names not None, Py_ssize_t start, int64_t now):
        """Take files from a position in ``names`` on; give that of the first that is not taken."""
        cdef Py_ssize_t position = start, count = len(names)
        while position < count:
            if self._count == FILES_AHEAD or self._used > AHEAD:
                self._pack_taken()
            if not self._take(directory, names[position], now):
                break
            position += 1
        return position

    def append(self, record, int64_t size):
        """Add a record of an entry that takes so many bytes in the source."""
        cdef bytes packed = self._pack(record)
        self._pack_taken()
        memcpy(self._room_for(len(packed)), PyBytes_AS_STRING(packed), len(packed))
        self._count_in(len(packed), size)

    def packed(self):
        """All of them, as a msgpack array."""
        cdef unsigned char[HEAD] head
        cdef Py_ssize_t size
        self._pack_taken()
        size = put_array(head, self._records) - head
        return (
            PyBytes_FromStringAndSize(<char*>head, size)
            + PyBytes_FromStringAndSize(<char*>self._packed, self._packed_size)
        )

    cdef bint _take(self, int directory, name, int64_t now) except -1:
        cdef Taken* taken = &self._taken[self._count]
        cdef Fields* fields = &taken.fields
        cdef unsigned char* text = self._texts + self._used
        cdef unsigned char* result = self._results + self._used
        cdef Status status
        cdef bytes encoded = PyUnicode_EncodeFSDefault(name)
        cdef const char* path = encoded
        cdef int is_usual
        cdef bint is_plain
        with nogil:
            is_plain = read_file(directory, path, text, &status) and find_fields(
                text, text + status.st_size, result, fields
            )
        if not is_plain or not self._is_of_type(fields.cache_type):
            return False
        is_usual = is_usual_name(path, len(encoded), fields.file_path)
        if is_usual < 0 or not has_its_key(fields, self._sha256):
            return False
        taken.size = status.st_size
        taken.is_fresh = is_fresh(status.st_mtim, now)
        taken.stamp = stamp_of(&status)
        self._names.append(None if is_usual else encoded)
        self._count += 1
        self._used += status.st_size + 1
        return True

    cdef bint _is_of_type(self, Span span):
        cdef Py_ssize_t size = PyBytes_GET_SIZE(self._cache_type)
        return (
            length_of(span) == size
            and memcmp(span.start, PyBytes_AS_STRING(self._cache_type), size) == 0
        )

    cdef int _pack_taken(self) except -1:
        cdef Py_ssize_t position
        for position in range(self._count):
            self._pack_one(&self._taken[position], self._names[position])
        self._count = self._used = 0
        self._names.clear()
        return 0

    cdef int _pack_one(self, const Taken* taken, bytes name) except -1:
        cdef const Fields* fields = &taken.fields
        cdef bytes text = bytes_of(fields.result)
        cdef bytes digest = self._sha256(text).digest()[: self._digest_bytes]
        cdef bytes frame
        cdef Out start, columns, at
        cdef int64_t seal
        made = self._known.get(digest)
        if made is None:
            made = self._compressed(text, digest)
        frame, usage = made
        start = self._room_for(self._most_bytes(fields, frame, name))
        columns = put_array(start, COLUMNS)
        at = _put_columns(columns, fields)
        seal = self._seal(columns, at, digest)
        at = self._put_texts(at, taken, frame, digest, name)
        at = put_nil(at) if taken.is_fresh else put_int(at, taken.stamp)
        at = put_int(at, seal)
        if usage is None:
            at = put_nil(at)
        else:
            at = put_int(put_int(put_array(at, 2), usage[0]), usage[1])
        return self._count_in(at - start, taken.size)

    cdef Py_ssize_t _most_bytes(self, const Fields* fields, bytes frame, bytes name):
        cdef Py_ssize_t most = (COLUMNS + 4) * HEAD + HASH_BYTES + self._digest_bytes + len(frame)
        most += length_of(fields.file_path) + length_of(fields.provider) + length_of(fields.model)
        if fields.cache_key.start != NULL:
            most += length_of(fields.prompt_hash)
        return most if name is None else most + len(name)

    cdef int _count_in(self, Py_ssize_t packed, int64_t size) except -1:
        """A record was put, and takes so many bytes; its entry takes so many in the source."""
        self._packed_size += packed
        self._records += 1
        self.size += size
        return 0

    cdef int64_t _seal(self, Out columns, Out at, bytes digest) except? -1:
        """As `rustassistant.records.seal`, over what was put from ``columns`` to ``at``. What is
        put behind that is to be put over."""
        at = _put_object(at, digest)
        return (
            <int64_t>self._crc32(PyBytes_FromStringAndSize(<char*>columns, at - columns), self._head)
            ^ SIGN
        ) - SIGN

    cdef Out _put_texts(
        self, Out at, const Taken* taken, bytes frame, bytes digest, bytes name
    ) except NULL:
        at = _put_object(_put_object(at, frame), digest)
        at = put_int(at, length_of(taken.fields.result))
        at = put_if_any(at, self._dictionary_id)
        at = put_nil(at)  # none is kept as a whole
        return put_nil(at) if name is None else _put_object(at, name)

    cdef Out _room_for(self, Py_ssize_t size) except NULL:
        """Where the next record goes, with room for so many bytes."""
        cdef Py_ssize_t room
        cdef unsigned char* packed
        if self._packed_size + size > self._room:
            room = 2 * (self._packed_size + size)
            packed = <unsigned char*>PyMem_Realloc(self._packed, room)
            if packed == NULL:
                raise MemoryError
            self._packed, self._room = packed, room
        return self._packed + self._packed_size
