# cython: language_level=3
"""Reading a file that holds still meanwhile, and what is to be asked of what it says."""

from libc.stdint cimport int64_t

from rustassistant.native.entries cimport Fields
from rustassistant.native.files cimport Status, timespec
from rustassistant.native.values cimport Span

cdef enum:
    LARGEST = 256 * 1024  # bytes; few entries have a twentieth of it


cdef bint read_file(
    int directory, const char* name, unsigned char* room, Status* status
) noexcept nogil
cdef bint is_fresh(timespec changed, int64_t now) noexcept nogil
cdef bint has_its_key(Fields* fields, sha256)
cdef int is_usual_name(const char* name, Py_ssize_t length, Span file_path) noexcept nogil
