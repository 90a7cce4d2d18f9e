# cython: language_level=3
"""A step takes the place where something has to stand and gives the place behind it, or NULL where
that does not stand there. It passes NULL on, so that steps can follow each other unasked.

Every text ends in a NUL, which no step passes: each byte that is stepped over was compared with one
that is not NUL. Only where eight bytes are looked at together is their number held against the end.
"""

from libc.stdint cimport int64_t, uint64_t

ctypedef const unsigned char* Text


cdef struct Span:
    Text start
    Text stop


cdef struct Scan:
    Text end
    unsigned char* out  # where the next byte of the result goes, without white space


cdef inline Py_ssize_t length_of(Span span) noexcept nogil:
    return span.stop - span.start


cdef inline Text after(Text at, const char* expected) noexcept nogil:
    """Past some text that has to stand here."""
    if at == NULL:
        return NULL
    while expected[0]:
        if at[0] != <unsigned char>expected[0]:
            return NULL
        at += 1
        expected += 1
    return at


cdef Text value(Scan* scan, Text at, int depth) noexcept nogil
cdef Text plain(Text at, Text end, Span* span) noexcept nogil
cdef Text integer(Text at, int64_t* value) noexcept nogil
cdef Text hex_digits(Text at, int digits, Span* span) noexcept nogil
