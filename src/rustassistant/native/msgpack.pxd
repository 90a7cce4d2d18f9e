# cython: language_level=3
"""Values as msgpack has them, in the shortest form that there is, as msgspec writes them.

Each step writes at a place and gives the place behind it; the caller sees to the room. The format
is github.com/msgpack/msgpack/blob/master/spec.md.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

ctypedef unsigned char* Out

cdef enum:
    HEAD = 9  # bytes before the text of a value, and of a number, at most


cdef inline Out put_byte(Out at, int byte) noexcept nogil:
    at[0] = byte
    return at + 1


cdef inline Out put_sized(Out at, int kind, uint64_t value, int size) noexcept nogil:
    """A byte that says what follows, then so many bytes of a number, the highest first."""
    at = put_byte(at, kind)
    while size:
        size -= 1
        at = put_byte(at, value >> 8 * size & 0xFF)
    return at


cdef inline Out put_nil(Out at) noexcept nogil:
    return put_byte(at, 0xC0)


cdef inline Out put_int(Out at, int64_t value) noexcept nogil:
    if value >= 0:
        if value < 0x80:
            return put_byte(at, value)
        if value < 0x100:
            return put_sized(at, 0xCC, value, 1)
        if value < 0x10000:
            return put_sized(at, 0xCD, value, 2)
        if value < <int64_t>1 << 32:
            return put_sized(at, 0xCE, value, 4)
        return put_sized(at, 0xCF, value, 8)
    if value >= -0x20:
        return put_byte(at, value & 0xFF)
    if value >= -0x80:
        return put_sized(at, 0xD0, value, 1)
    if value >= -0x8000:
        return put_sized(at, 0xD1, value, 2)
    if value >= -(<int64_t>1 << 31):
        return put_sized(at, 0xD2, value, 4)
    return put_sized(at, 0xD3, value, 8)


cdef inline Out put_if_any(Out at, int64_t value) noexcept nogil:
    """A number, or nil for one below 0."""
    return put_nil(at) if value < 0 else put_int(at, value)


cdef inline Out put_text(Out at, const void* text, Py_ssize_t size) noexcept nogil:
    if size < 0x20:
        at = put_byte(at, 0xA0 | size)
    elif size < 0x100:
        at = put_sized(at, 0xD9, size, 1)
    elif size < 0x10000:
        at = put_sized(at, 0xDA, size, 2)
    else:
        at = put_sized(at, 0xDB, size, 4)
    memcpy(at, text, size)
    return at + size


cdef inline Out put_bytes(Out at, const void* data, Py_ssize_t size) noexcept nogil:
    if size < 0x100:
        at = put_sized(at, 0xC4, size, 1)
    elif size < 0x10000:
        at = put_sized(at, 0xC5, size, 2)
    else:
        at = put_sized(at, 0xC6, size, 4)
    memcpy(at, data, size)
    return at + size


cdef inline Out put_array(Out at, Py_ssize_t count) noexcept nogil:
    if count < 0x10:
        return put_byte(at, 0x90 | count)
    if count < 0x10000:
        return put_sized(at, 0xDC, count, 2)
    return put_sized(at, 0xDD, count, 4)
