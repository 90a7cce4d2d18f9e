# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, freethreading_compatible=True
"""Entries' files that are just as the Rust program prints them, taken apart in one pass.

Almost every file is of that kind. Of any other this room says nothing but that it is not: the
general reader in ``entry_json`` then tells what it is, or what is wrong with it. So what is
accepted here has to be right, and what is not need not be looked at twice.

Every text ends in a NUL of Python's own, which no step passes: each byte that is stepped over was
compared with one that is not NUL. Only where eight bytes are looked at together is their number
held against the end.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

ctypedef const unsigned char* Text

cdef enum:
    DEEPEST = 100  # far less than what is refused: what lies deeper, the general reader counts
    DIGITS = 18  # as many as always fit into 64 bits
    HASH_BYTES = 32
    KEY_DIGITS = 32

cdef uint64_t EVERY = 0x0101010101010101
cdef uint64_t HIGH = 0x8080808080808080


cdef struct Scan:
    Text end
    unsigned char* out  # where the next byte of the result goes, without white space


cdef struct Span:
    Text start
    Text stop


cdef struct Fields:
    Span file_path
    Span file_hash
    Span cache_key  # nowhere in an entry from before keys, as are the next three
    Span analyzed_at
    Span provider
    Span model
    Span prompt_hash
    int64_t schema_version
    int64_t moment
    int64_t tokens_used  # -1 for null
    int64_t file_size  # likewise
    Span cache_type


cdef inline Text _after(Text at, const char* expected) noexcept nogil:
    """Past some text that has to stand here."""
    while expected[0]:
        if at[0] != <unsigned char>expected[0]:
            return NULL
        at += 1
        expected += 1
    return at


cdef inline bint _is_special(uint64_t eight) noexcept nogil:
    """Whether a byte of eight is no plain ASCII in a string: control, quote, backslash, or other.

    The test for bytes below some value is from Sean Eron Anderson's "Bit Twiddling Hacks".
    """
    cdef uint64_t quotes = eight ^ (EVERY * 0x22)
    cdef uint64_t slashes = eight ^ (EVERY * 0x5C)
    cdef uint64_t below = (
        (eight - EVERY * 0x20) & ~eight
        | (quotes - EVERY) & ~quotes
        | (slashes - EVERY) & ~slashes
    )
    return ((below | eight) & HIGH) != 0


cdef inline bint _goes_on(unsigned char byte) noexcept nogil:
    return byte & 0xC0 == 0x80


cdef Text _character(Text at) noexcept nogil:
    """Past one character of UTF-8 that is not ASCII: table 3-7 of the Unicode Standard."""
    cdef unsigned char first = at[0], second = at[1]
    if first < 0xC2 or first > 0xF4 or not _goes_on(second):
        return NULL
    if first < 0xE0:
        return at + 2
    if not _goes_on(at[2]):
        return NULL
    if first < 0xF0:
        if first == 0xE0 and second < 0xA0 or first == 0xED and second > 0x9F:
            return NULL
        return at + 3
    if not _goes_on(at[3]):
        return NULL
    if first == 0xF0 and second < 0x90 or first == 0xF4 and second > 0x8F:
        return NULL
    return at + 4


cdef inline bint _is_hex(unsigned char byte) noexcept nogil:
    return 0x30 <= byte <= 0x39 or 0x61 <= (byte | 0x20) <= 0x66


cdef Text _escape(Text at) noexcept nogil:
    """Past a backslash and what it stands before. Halves of surrogate pairs are left to others."""
    cdef unsigned char kind = at[1]
    if kind in (0x22, 0x5C, 0x2F, 0x62, 0x66, 0x6E, 0x72, 0x74):  # "\/bfnrt
        return at + 2
    if kind != 0x75 or not (_is_hex(at[2]) and _is_hex(at[3])):  # u
        return NULL
    if not (_is_hex(at[4]) and _is_hex(at[5])):
        return NULL
    if at[2] | 0x20 == 0x64 and at[3] >= 0x38:  # \ud800 to \udfff
        return NULL
    return at + 6


cdef Text _string(Text at, Text end) noexcept nogil:
    """The quote that ends a string, from its first byte on."""
    cdef uint64_t eight
    cdef unsigned char byte
    while at != NULL:
        while end - at >= 8:
            memcpy(&eight, at, 8)
            if _is_special(eight):
                break
            at += 8
        byte = at[0]
        if byte == 0x22:
            return at
        if byte == 0x5C:
            at = _escape(at)
        elif byte >= 0x80:
            at = _character(at)
        elif byte < 0x20:
            return NULL
        else:
            at += 1
    return NULL


cdef Text _plain(Text at, Text end, Span* span) noexcept nogil:
    """Past a string, its first quote included, that is printed without a backslash."""
    cdef Text byte
    if at[0] != 0x22:
        return NULL
    span.start = at + 1
    span.stop = _string(at + 1, end)
    if span.stop == NULL:
        return NULL
    byte = span.start
    while byte != span.stop:
        if byte[0] == 0x5C or byte[0] == 0x7F:
            return NULL
        byte += 1
    return span.stop + 1


cdef Text _digits(Text at) noexcept nogil:
    """Past one digit at least."""
    if not 0x30 <= at[0] <= 0x39:
        return NULL
    while 0x30 <= at[0] <= 0x39:
        at += 1
    return at


cdef Text _number(Text at) noexcept nogil:
    if at[0] == 0x2D:
        at += 1
    if at[0] == 0x30:
        at += 1
    else:
        at = _digits(at)
    if at != NULL and at[0] == 0x2E:
        at = _digits(at + 1)
    if at != NULL and at[0] | 0x20 == 0x65:
        at += 1
        if at[0] == 0x2B or at[0] == 0x2D:
            at += 1
        at = _digits(at)
    return at


cdef Text _integer(Text at, int64_t* value) noexcept nogil:
    """Past a number that is not negative, or past null, which is -1."""
    cdef Text start = at
    if at[0] == 0x6E:
        value[0] = -1
        return _after(at, b"null")
    value[0] = 0
    while 0x30 <= at[0] <= 0x39:
        if at - start == DIGITS:
            return NULL
        value[0] = value[0] * 10 + (at[0] - 0x30)
        at += 1
    if at == start or start[0] == 0x30 and at - start > 1:
        return NULL
    return at


cdef inline Text _new_line(Text at, int depth) noexcept nogil:
    """Past the end of a line and two spaces a level."""
    cdef int spaces = 2 * depth
    if at[0] != 0x0A:
        return NULL
    at += 1
    while spaces:
        if at[0] != 0x20:
            return NULL
        at += 1
        spaces -= 1
    return at


cdef inline Text _copied(Scan* scan, Text start, Text stop) noexcept nogil:
    """Take bytes into the result, and go on behind them. None may have been found."""
    if stop == NULL:
        return NULL
    memcpy(scan.out, start, stop - start)
    scan.out += stop - start
    return stop


cdef inline void _put(Scan* scan, unsigned char byte) noexcept nogil:
    scan.out[0] = byte
    scan.out += 1


cdef Text _quoted(Scan* scan, Text at) noexcept nogil:
    cdef Text stop
    if at[0] != 0x22:
        return NULL
    stop = _string(at + 1, scan.end)
    if stop == NULL:
        return NULL
    return _copied(scan, at, stop + 1)


cdef Text _name(Scan* scan, Text at) noexcept nogil:
    """Past a member's name and what parts it from its value."""
    at = _quoted(scan, at)
    if at != NULL:
        at = _after(at, b": ")
    if at != NULL:
        _put(scan, 0x3A)
    return at


cdef Text _several(Scan* scan, Text at, int depth, unsigned char closing) noexcept nogil:
    """Past an array or an object, from its bracket on, whose ``closing`` one says which."""
    _put(scan, at[0])
    at += 1
    if at[0] == closing:
        _put(scan, closing)
        return at + 1
    if depth == DEEPEST:
        return NULL
    while True:
        at = _new_line(at, depth + 1)
        if at != NULL and closing == 0x7D:
            at = _name(scan, at)
        if at != NULL:
            at = _value(scan, at, depth + 1)
        if at == NULL:
            return NULL
        if at[0] != 0x2C:
            break
        _put(scan, 0x2C)
        at += 1
    at = _new_line(at, depth)
    if at == NULL or at[0] != closing:
        return NULL
    _put(scan, closing)
    return at + 1


cdef Text _value(Scan* scan, Text at, int depth) noexcept nogil:
    """Past any value that begins here, its lines indented by as many levels."""
    cdef unsigned char first = at[0]
    if first == 0x22:
        return _quoted(scan, at)
    if first == 0x7B:
        return _several(scan, at, depth, 0x7D)
    if first == 0x5B:
        return _several(scan, at, depth, 0x5D)
    if first == 0x74:
        return _copied(scan, at, _after(at, b"true"))
    if first == 0x66:
        return _copied(scan, at, _after(at, b"false"))
    if first == 0x6E:
        return _copied(scan, at, _after(at, b"null"))
    return _copied(scan, at, _number(at))


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
    year = _two(at) * 100
    if year < 0:
        return NULL
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
    return _after(at, b"+00:00")


cdef Text _hex(Text at, int digits, Span* span) noexcept nogil:
    """Past a string of so many hex digits, none of them a capital."""
    if at[0] != 0x22:
        return NULL
    at += 1
    span.start = at
    while digits:
        if not _is_hex(at[0]) or 0x41 <= at[0] <= 0x46:
            return NULL
        at += 1
        digits -= 1
    span.stop = at
    if at[0] != 0x22:
        return NULL
    return at + 1


cdef Text _request(Text at, Text end, Fields* fields) noexcept nogil:
    """Past what an entry with a key says of its request."""
    at = _after(at, b',\n  "prompt_hash": ')
    if at != NULL:
        at = _plain(at, end, &fields.prompt_hash)
    if at == NULL or fields.prompt_hash.start == fields.prompt_hash.stop:
        return NULL
    at = _after(at, b',\n  "schema_version": ')
    if at == NULL:
        return NULL
    at = _integer(at, &fields.schema_version)
    if fields.schema_version < 0:
        return NULL
    return at


cdef Text _head(Text at, Text end, Fields* fields) noexcept nogil:
    """Past everything before the result."""
    cdef Text after
    at = _after(at, b'{\n  "file_path": ')
    if at != NULL:
        at = _plain(at, end, &fields.file_path)
    if at != NULL:
        at = _after(at, b',\n  "file_hash": ')
    if at != NULL:
        at = _hex(at, 2 * HASH_BYTES, &fields.file_hash)
    if at == NULL:
        return NULL
    fields.cache_key.start = NULL
    after = _after(at, b',\n  "cache_key": ')
    if after != NULL:
        at = _hex(after, KEY_DIGITS, &fields.cache_key)
    if at != NULL:
        at = _after(at, b',\n  "analyzed_at": "')
    if at != NULL:
        at = _moment(at, &fields.moment)
    if at != NULL:
        at = _after(at, b'",\n  "provider": ')
    if at != NULL:
        at = _plain(at, end, &fields.provider)
    if at != NULL:
        at = _after(at, b',\n  "model": ')
    if at != NULL:
        at = _plain(at, end, &fields.model)
    if at != NULL and fields.cache_key.start != NULL:
        at = _request(at, end, fields)
    if at == NULL:
        return NULL
    return _after(at, b',\n  "result": ')


cdef Text _tail(Text at, Text end, Fields* fields) noexcept nogil:
    """Past everything after the result."""
    at = _after(at, b',\n  "tokens_used": ')
    if at != NULL:
        at = _integer(at, &fields.tokens_used)
    if at != NULL:
        at = _after(at, b',\n  "file_size": ')
    if at != NULL:
        at = _integer(at, &fields.file_size)
    if at != NULL:
        at = _after(at, b',\n  "cache_type": ')
    if at != NULL:
        at = _plain(at, end, &fields.cache_type)
    if at == NULL:
        return NULL
    return _after(at, b"\n}")


cdef inline unsigned char _half(unsigned char digit) noexcept nogil:
    return digit - 0x30 if digit <= 0x39 else digit - 0x57


cdef bytes _bytes_of(Span span):
    cdef unsigned char[HASH_BYTES] made
    cdef int position
    for position in range(HASH_BYTES):
        made[position] = _half(span.start[2 * position]) << 4 | _half(span.start[2 * position + 1])
    return PyBytes_FromStringAndSize(<char*>made, HASH_BYTES)


cdef str _str_of(Span span):
    return PyUnicode_DecodeUTF8(<char*>span.start, span.stop - span.start, "strict")


def take_apart(bytes text not None):
    """The fields of an entry's file, its result without white space; None for any other text.

    ``(file_path, file_hash, analyzed_at, provider, model, prompt_hash, schema_version, result,
    tokens_used, file_size, cache_key, cache_type)`` as in `rustassistant.entry.Entry`;
    ``cache_key`` is the 32 hex digits that the file gives, None where it has none, and neither it
    nor ``cache_type`` is held against anything here.
    """
    cdef Text start = <Text>PyBytes_AS_STRING(text)
    cdef Py_ssize_t length = PyBytes_GET_SIZE(text)
    cdef Fields fields
    cdef Scan scan
    cdef Text at = _head(start, start + length, &fields)
    if at == NULL:
        return None
    cdef unsigned char* result = <unsigned char*>PyMem_Malloc(start + length - at)
    if result == NULL:
        raise MemoryError
    try:
        scan = Scan(start + length, result)
        at = _value(&scan, at, 1)
        if at != NULL:
            at = _tail(at, scan.end, &fields)
        if at != scan.end:
            return None
        has_key = fields.cache_key.start != NULL
        return (
            _str_of(fields.file_path),
            _bytes_of(fields.file_hash),
            fields.moment,
            _str_of(fields.provider),
            _str_of(fields.model),
            _str_of(fields.prompt_hash) if has_key else None,
            fields.schema_version if has_key else None,
            PyBytes_FromStringAndSize(<char*>result, scan.out - result),
            None if fields.tokens_used < 0 else fields.tokens_used,
            None if fields.file_size < 0 else fields.file_size,
            _str_of(fields.cache_key) if has_key else None,
            _str_of(fields.cache_type),
        )
    finally:
        PyMem_Free(result)
