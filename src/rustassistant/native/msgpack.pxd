# cython: language_level=3
"""Values as msgpack has them, in the shortest form that there is, as msgspec writes them.

Each step that puts one writes at a place and gives the place behind it; the caller sees to the
room. Each that takes one gives the place behind it, or NULL where none of its kind stands before
the end; it passes NULL on. The format is github.com/msgpack/msgpack/blob/master/spec.md.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

from rustassistant.native.values cimport Span, Text

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


cdef inline Text take_number(Text at, Text end, int size, uint64_t* value) noexcept nogil:
    """Past so many bytes of a number, the highest first."""
    if at == NULL or end - at < size:
        return NULL
    value[0] = 0
    while size:
        value[0] = value[0] << 8 | at[0]
        at += 1
        size -= 1
    return at


cdef inline Text take_int(Text at, Text end, int64_t* value) noexcept nogil:
    """Past a number, if it fits into 64 bits with a sign."""
    cdef uint64_t number = 0
    cdef int kind, bits
    if at == NULL or at == end:
        return NULL
    kind = at[0]
    at += 1
    if kind < 0x80 or kind >= 0xE0:
        value[0] = kind if kind < 0x80 else kind - 0x100
        return at
    if not 0xCC <= kind <= 0xD3:
        return NULL
    bits = 8 << (kind & 3)
    at = take_number(at, end, bits // 8, &number)
    if kind >= 0xD0:
        value[0] = <int64_t>(number << 64 - bits) >> 64 - bits
        return at
    value[0] = <int64_t>number
    return NULL if value[0] < 0 else at


cdef inline Text take_nil(Text at, Text end) noexcept nogil:
    return at + 1 if at != NULL and at != end and at[0] == 0xC0 else NULL


cdef inline Text take_if_any(Text at, Text end, int64_t* value, bint* is_nil) noexcept nogil:
    """Past a number, or nil."""
    cdef Text behind = take_nil(at, end)
    is_nil[0] = behind != NULL
    return behind if is_nil[0] else take_int(at, end, value)


cdef inline Text take_nothing(Text at, Text end, Span* span) noexcept nogil:
    """Past nil: a span that is nowhere."""
    span.start = NULL
    return take_nil(at, end)


cdef inline Text take_sized(Text at, Text end, int first, int count, Span* span) noexcept nogil:
    """Past what has its length before it: ``first`` is the kind whose length has one byte, and of
    ``count`` kinds each has twice as many as the one before."""
    cdef uint64_t size = 0
    cdef int kind
    if at == NULL or at == end:
        return NULL
    kind = at[0] - first
    if kind < 0 or kind >= count:
        return NULL
    at = take_number(at + 1, end, 1 << kind, &size)
    if at == NULL or <uint64_t>(end - at) < size:
        return NULL
    span.start = at
    span.stop = at + size
    return span.stop


cdef inline Text take_bytes(Text at, Text end, Span* span) noexcept nogil:
    return take_sized(at, end, 0xC4, 3, span)


cdef inline Text take_bytes_if_any(Text at, Text end, Span* span) noexcept nogil:
    cdef Text behind = take_nothing(at, end, span)
    return take_bytes(at, end, span) if behind == NULL else behind


cdef inline Text take_text(Text at, Text end, Span* span) noexcept nogil:
    if at == NULL or at == end or not 0xA0 <= at[0] < 0xC0:
        return take_sized(at, end, 0xD9, 3, span)
    span.start = at + 1
    span.stop = span.start + (at[0] - 0xA0)
    return span.stop if span.stop <= end else NULL


cdef inline Text take_text_if_any(Text at, Text end, Span* span) noexcept nogil:
    cdef Text behind = take_nothing(at, end, span)
    return take_text(at, end, span) if behind == NULL else behind


cdef inline Text take_array(Text at, Text end, int64_t* count) noexcept nogil:
    """Past the head of an array."""
    cdef uint64_t number = 0
    if at == NULL or at == end:
        return NULL
    if 0x90 <= at[0] < 0xA0:
        count[0] = at[0] - 0x90
        return at + 1
    if at[0] != 0xDC and at[0] != 0xDD:
        return NULL
    at = take_number(at + 1, end, 2 if at[0] == 0xDC else 4, &number)
    count[0] = <int64_t>number
    return at
