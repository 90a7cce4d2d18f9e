# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, freethreading_compatible=True
"""Entries' files that are just as the Rust program prints them, taken apart in one pass.

Almost every file is of that kind. Of any other this room says nothing but that it is not: the
general reader in ``entry_json`` then tells what it is, or what is wrong with it. So what is
accepted here has to be right, and what is not need not be looked at twice.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.unicode cimport PyUnicode_DecodeUTF8

from rustassistant.native.values cimport after, hex_digits, integer, plain, value

cdef enum:
    KEY_DIGITS = 32


cdef inline int _two(Text at) noexcept nogil:
    """Two digits as a number, or less than zero."""
    if 0x30 <= at[0] <= 0x39 and 0x30 <= at[1] <= 0x39:
        return (at[0] - 0x30) * 10 + at[1] - 0x30
    return -10_000


cdef int _days_of_month(int year, int month) noexcept nogil:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


cdef int64_t _days(int year, int month, int day) noexcept nogil:
    """Days since 1970: ``days_from_civil`` of Howard Hinnant, for years after 0."""
    cdef int64_t y = year - (month <= 2)
    cdef int64_t era = y // 400, in_era = y % 400
    cdef int64_t in_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return era * 146_097 + in_era * 365 + in_era // 4 - in_era // 100 + in_year - 719_468


cdef Text _fraction(Text at, int64_t* nanoseconds) noexcept nogil:
    """Past 3, 6 or 9 digits, the fewest that say it, from the first one on."""
    cdef int64_t last = 0, scale = 10**9
    nanoseconds[0] = 0
    while 0x30 <= at[0] <= 0x39:
        if scale == 1:
            return NULL
        if scale in (10**6, 10**3):
            last = 0
        scale //= 10
        last = last * 10 + (at[0] - 0x30)
        nanoseconds[0] += (at[0] - 0x30) * scale
        at += 1
    if scale in (10**6, 10**3, 1) and last:
        return at
    return NULL


cdef Text _moment(Text at, int64_t* moment) noexcept nogil:
    """Past a time as chrono prints it: ``2026-02-04T10:00:00.123456789+00:00``."""
    cdef int year, month, day, hour, minute, second
    cdef int64_t fraction = 0
    if at == NULL or _two(at) < 0:
        return NULL
    year = _two(at) * 100
    year += _two(at + 2)
    if year < 1700 or year > 2200 or at[4] != 0x2D:  # all of these, 64 bits of nanoseconds hold
        return NULL
    month = _two(at + 5)
    if month < 1 or month > 12 or at[7] != 0x2D:
        return NULL
    day = _two(at + 8)
    if day < 1 or day > _days_of_month(year, month) or at[10] != 0x54:
        return NULL
    hour = _two(at + 11)
    if hour < 0 or hour > 23 or at[13] != 0x3A:
        return NULL
    minute = _two(at + 14)
    if minute < 0 or minute > 59 or at[16] != 0x3A:
        return NULL
    second = _two(at + 17)
    if second < 0 or second > 59:
        return NULL
    at += 19
    if at[0] == 0x2E:
        at = _fraction(at + 1, &fraction)
        if at == NULL:
            return NULL
    moment[0] = (
        (_days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second) * 10**9 + fraction
    )
    return after(at, b"+00:00")


cdef Text _request(Text at, Text end, Fields* fields) noexcept nogil:
    """Past what an entry with a key says of its request."""
    at = after(at, b',\n  "prompt_hash": ')
    at = plain(at, end, &fields.prompt_hash)
    if at == NULL or fields.prompt_hash.start == fields.prompt_hash.stop:
        return NULL
    at = after(at, b',\n  "schema_version": ')
    at = integer(at, &fields.schema_version)
    if at == NULL or fields.schema_version < 0:
        return NULL
    return at


cdef Text _head(Text at, Text end, Fields* fields) noexcept nogil:
    """Past everything before the result."""
    cdef Text keyed
    at = after(at, b'{\n  "file_path": ')
    at = plain(at, end, &fields.file_path)
    at = after(at, b',\n  "file_hash": ')
    at = hex_digits(at, 2 * HASH_BYTES, &fields.file_hash)
    keyed = after(at, b',\n  "cache_key": ')
    if keyed != NULL:
        at = hex_digits(keyed, KEY_DIGITS, &fields.cache_key)
    at = after(at, b',\n  "analyzed_at": "')
    at = _moment(at, &fields.moment)
    at = after(at, b'",\n  "provider": ')
    at = plain(at, end, &fields.provider)
    at = after(at, b',\n  "model": ')
    at = plain(at, end, &fields.model)
    if keyed != NULL:
        at = _request(at, end, fields)
    return after(at, b',\n  "result": ')


cdef Text _tail(Text at, Text end, Fields* fields) noexcept nogil:
    """Past everything after the result."""
    at = after(at, b',\n  "tokens_used": ')
    at = integer(at, &fields.tokens_used)
    at = after(at, b',\n  "file_size": ')
    at = integer(at, &fields.file_size)
    at = after(at, b',\n  "cache_type": ')
    at = plain(at, end, &fields.cache_type)
    return after(at, b"\n}")


cdef bint find_fields(
    Text start, Text end, unsigned char* room, Fields* fields
) noexcept nogil:
    """Find them in a text that has a NUL at its end; false if it is printed in any other way.

    Into ``room``, as much as the text is long, the result is written without white space.
    """
    cdef Text at
    cdef Scan scan = Scan(end, room)
    fields.cache_key.start = NULL
    at = _head(start, end, fields)
    at = value(&scan, at, 1)
    at = _tail(at, end, fields)
    fields.result = Span(room, scan.out)
    return at == end


cdef inline unsigned char _half(unsigned char digit) noexcept nogil:
    return (digit & 0xF) + 9 * (digit >> 6)  # letters have the bit 0x40, and 1 is A


cdef void unhex(Span span, unsigned char* room) noexcept nogil:
    """Write the bytes that hex digits stand for."""
    cdef int position, count = (span.stop - span.start) // 2
    for position in range(count):
        room[position] = _half(span.start[2 * position]) << 4 | _half(span.start[2 * position + 1])


cdef bytes unhexed(Span span):
    """The bytes that hex digits stand for, 32 at most."""
    cdef unsigned char[HASH_BYTES] made
    unhex(span, made)
    return PyBytes_FromStringAndSize(<char*>made, (span.stop - span.start) // 2)


cdef bytes bytes_of(Span span):
    return PyBytes_FromStringAndSize(<char*>span.start, span.stop - span.start)


cdef str str_of(Span span):
    return PyUnicode_DecodeUTF8(<char*>span.start, span.stop - span.start, "strict")


def take_apart(bytes text not None):
    """The fields of an entry's file, its result without white space; None for any other text.

    ``(file_path, file_hash, analyzed_at, provider, model, prompt_hash, schema_version, result,
    tokens_used, file_size, cache_key, cache_type)`` as in `rustassistant.entry.Entry`;
    ``cache_key`` is the 32 hex digits that the file gives, None where it has none, and neither it
    nor ``cache_type`` is held against anything here.
    """
    cdef Text start = <Text>PyBytes_AS_STRING(text)
    cdef Text end = start + PyBytes_GET_SIZE(text)
    cdef Fields fields
    cdef unsigned char* room = <unsigned char*>PyMem_Malloc(end - start)
    if room == NULL:
        raise MemoryError
    try:
        if not find_fields(start, end, room, &fields):
            return None
        has_key = fields.cache_key.start != NULL
        return (
            str_of(fields.file_path),
            unhexed(fields.file_hash),
            fields.moment,
            str_of(fields.provider),
            str_of(fields.model),
            str_of(fields.prompt_hash) if has_key else None,
            fields.schema_version if has_key else None,
            bytes_of(fields.result),
            None if fields.tokens_used < 0 else fields.tokens_used,
            None if fields.file_size < 0 else fields.file_size,
            str_of(fields.cache_key) if has_key else None,
            str_of(fields.cache_type),
        )
    finally:
        PyMem_Free(room)
