# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, freethreading_compatible=True
"""Entries of one directory, read and taken apart many at a time.

Whatever is out of the ordinary with a file is left to ``json_tree.reading``, which tries it anew and
says what it is: a file that is no regular one, is large, changes just now, can't be opened or read;
and to ``entry_json``, what is not printed as the Rust program prints it.
"""

import sys

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdio cimport snprintf
from libc.string cimport memcmp, memcpy

from rustassistant.native.entries cimport bytes_of, find_fields, str_of, unhexed
from rustassistant.native.files cimport stamp_of
from rustassistant.native.values cimport Text, length_of


cdef extern from "Python.h":
    bytes PyUnicode_EncodeFSDefault(object text)


cdef extern from "<fcntl.h>" nogil:
    const int O_RDONLY, O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK
    int openat(int directory, const char* name, int flags)


cdef extern from "<unistd.h>" nogil:
    ssize_t read(int descriptor, void* buffer, size_t count)
    int close(int descriptor)


cdef extern from "<sys/stat.h>" nogil:
    int fstat(int descriptor, Status* status)
    bint S_ISREG(int mode)


cdef bint NAMES_ARE_UTF_8 = sys.getfilesystemencoding() == "utf-8"
cdef int64_t SECOND = 1_000_000_000
cdef int64_t LAST_SECOND = 9_000_000_000  # up to which nanoseconds fit into 64 bits
cdef int64_t COARSE_CLOCK = 2_000_000_000  # as in json_tree.reading, and the next
cdef int64_t FINE_CLOCK = 50_000_000


cdef inline bint _same_time(timespec one, timespec other) noexcept nogil:
    return one.tv_sec == other.tv_sec and one.tv_nsec == other.tv_nsec


cdef bint _read_whole(int descriptor, unsigned char* room, Status* status) noexcept nogil:
    """All of a regular file, with a NUL behind it, if it holds still meanwhile."""
    cdef Status after
    if fstat(descriptor, status) or not S_ISREG(status.st_mode) or status.st_size > LARGEST:
        return False
    # One more is asked for, to see that the file has not grown.
    if read(descriptor, room, status.st_size + 1) != status.st_size or fstat(descriptor, &after):
        return False
    room[status.st_size] = 0
    return (
        after.st_size == status.st_size
        and _same_time(after.st_mtim, status.st_mtim)
        and _same_time(after.st_ctim, status.st_ctim)
    )


cdef bint read_file(
    int directory, const char* name, unsigned char* room, Status* status
) noexcept nogil:
    cdef int descriptor = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
    cdef bint is_read
    if descriptor < 0:
        return False
    is_read = _read_whole(descriptor, room, status)
    close(descriptor)
    return is_read


cdef bint is_fresh(timespec changed, int64_t now) noexcept nogil:
    """As ``json_tree.reading.is_fresh``; true too of a time that does not fit into 64 bits."""
    if not -LAST_SECOND < changed.tv_sec < LAST_SECOND:
        return True
    return changed.tv_sec * SECOND + changed.tv_nsec > now - (
        FINE_CLOCK if changed.tv_nsec else COARSE_CLOCK
    )


cdef inline char* _put(char* at, Span span) noexcept nogil:
    """Write some text and a colon, and go on behind them."""
    memcpy(at, span.start, length_of(span))
    at += length_of(span)
    at[0] = 0x3A
    return at + 1


cdef bint has_its_key(Fields* fields, sha256):
    """Whether the key that a file gives, if it gives one, is that of `rustassistant.entry`."""
    cdef char[24] version
    cdef Py_ssize_t digits, length
    cdef bytes text
    cdef char* at
    if fields.cache_key.start == NULL:
        return True
    digits = snprintf(version, sizeof(version), "%lld", <long long>fields.schema_version)
    length = length_of(fields.file_hash) + length_of(fields.model) + length_of(fields.prompt_hash)
    text = PyBytes_FromStringAndSize(NULL, length + 3 + digits)
    at = _put(PyBytes_AS_STRING(text), fields.file_hash)
    at = _put(at, fields.model)
    at = _put(at, fields.prompt_hash)
    memcpy(at, version, digits)
    digest = sha256(text).digest()
    return digest.startswith(unhexed(fields.cache_key))


cdef int is_usual_name(const char* name, Py_ssize_t length, Span file_path) noexcept nogil:
    """Whether a file has the name that `rustassistant.entry_json.file_name` makes of a path.

    Less than zero if that is for Python to tell, which knows how names are encoded.
    """
    cdef bint is_usual = length == length_of(file_path) + 5 and memcmp(
        name + length - 5, b".json", 5
    ) == 0
    cdef Text at = file_path.start
    cdef unsigned char byte
    while at != file_path.stop:
        byte = at[0]
        if byte >= 0x80 and not NAMES_ARE_UTF_8:
            return -1
        if byte in (0x2F, 0x5C, 0x2E, 0x3A):
            byte = 0x5F
        if is_usual:
            is_usual = <unsigned char>name[at - file_path.start] == byte
        at += 1
    return is_usual


cdef class Reader:
    """Reads the files of one directory, whose entries are of one repository and type.

    ``place`` is the directory for people, ``found`` and ``entry`` are the classes of what is made,
    ``sha256`` is that of hashlib.
    """

    cdef str _place
    cdef object _repository
    cdef object _cache_type
    cdef object _found
    cdef object _entry
    cdef object _sha256
    cdef unsigned char* _text
    cdef unsigned char* _result

    def __cinit__(self, str place, repository, cache_type, *, found, entry, sha256):
        self._place = place + "/"
        self._repository = repository
        self._cache_type = cache_type
        self._found = found
        self._entry = entry
        self._sha256 = sha256
        self._text = <unsigned char*>PyMem_Malloc(LARGEST + 1)
        self._result = <unsigned char*>PyMem_Malloc(LARGEST + 1)
        if self._text == NULL or self._result == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_Free(self._text)
        PyMem_Free(self._result)

    def read(self, int directory, str name not None, int64_t now):
        """What a file holds, or None if that takes a closer look."""
        cdef Status status
        cdef Fields fields
        cdef bytes encoded = PyUnicode_EncodeFSDefault(name)
        cdef const char* path = encoded
        cdef bint is_plain
        cdef int is_usual
        with nogil:
            is_plain = read_file(directory, path, self._text, &status)
            is_plain = is_plain and find_fields(
                self._text, self._text + status.st_size, self._result, &fields
            )
        if not is_plain or not has_its_key(&fields, self._sha256):
            return None
        if str_of(fields.cache_type) != self._cache_type:
            return None
        is_usual = is_usual_name(path, len(encoded), fields.file_path)
        if is_usual < 0:
            return None
        file_path = str_of(fields.file_path)
        return tuple.__new__(self._found, (
            self._entry_of(&fields, file_path),
            self._place + PyUnicode_DecodeUTF8(path, len(encoded), "backslashreplace"),
            status.st_size,
            None if is_usual else encoded,
            None if is_fresh(status.st_mtim, now) else stamp_of(&status),
            (),
        ))

    cdef object _entry_of(self, Fields* fields, str file_path):
        cdef bint has_key = fields.cache_key.start != NULL
        return self._entry(
            repository=self._repository,
            cache_type=self._cache_type,
            file_path=file_path,
            file_hash=unhexed(fields.file_hash),
            analyzed_at=fields.moment,
            provider=str_of(fields.provider),
            model=str_of(fields.model),
            prompt_hash=str_of(fields.prompt_hash) if has_key else None,
            schema_version=fields.schema_version if has_key else None,
            result=bytes_of(fields.result),
            tokens_used=None if fields.tokens_used < 0 else fields.tokens_used,
            file_size=None if fields.file_size < 0 else fields.file_size,
        )
