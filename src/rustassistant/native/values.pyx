# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, freethreading_compatible=True
"""JSON values as the Rust program prints them, stepped over one by one."""

from libc.string cimport memcpy

cdef extern from *:
    """
    #if defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    #define bytes_before(special) (__builtin_ctzll(special) / 8)
    #else
    #define bytes_before(special) 0  /* where that is not known, they are looked at one by one */
    #endif
    """
    int bytes_before(uint64_t special) nogil

cdef enum:
    DEEPEST = 100  # far less than what is refused: what lies deeper, the general reader counts
    DIGITS = 18  # as many as always fit into 64 bits

cdef bint[256] IS_SMALL_HEX = [chr(byte) in "0123456789abcdef" for byte in range(256)]
cdef uint64_t EVERY = 0x0101010101010101
cdef uint64_t HIGH = 0x8080808080808080


cdef inline uint64_t _special(uint64_t eight) noexcept nogil:
    """The highest bit of each byte that is no plain ASCII in a string: control, quote, backslash,
    or other; and perhaps that of bytes above one of these.

    The test for bytes below some value is from Sean Eron Anderson's "Bit Twiddling Hacks".
    """
    cdef uint64_t quotes = eight ^ (EVERY * 0x22)
    cdef uint64_t slashes = eight ^ (EVERY * 0x5C)
    cdef uint64_t below = (
        (eight - EVERY * 0x20) & ~eight
        | (quotes - EVERY) & ~quotes
        | (slashes - EVERY) & ~slashes
    )
    return (below | eight) & HIGH


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
    cdef uint64_t eight, special
    cdef unsigned char byte
    while at != NULL:
        while end - at >= 8:
            memcpy(&eight, at, 8)
            special = _special(eight)
            if special:
                at += bytes_before(special)
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


cdef Text plain(Text at, Text end, Span* span) noexcept nogil:
    """Past a string, its first quote included, that is printed without a backslash."""
    cdef Text byte
    if at == NULL or at[0] != 0x22:
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


cdef Text integer(Text at, int64_t* value) noexcept nogil:
    """Past a number that is not negative, or past null, which is -1."""
    cdef Text start = at
    if at == NULL:
        return NULL
    if at[0] == 0x6E:
        value[0] = -1
        return after(at, b"null")
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
    if at == NULL or at[0] != 0x22:
        return NULL
    stop = _string(at + 1, scan.end)
    if stop == NULL:
        return NULL
    return _copied(scan, at, stop + 1)


cdef Text _name(Scan* scan, Text at) noexcept nogil:
    """Past a member's name and what parts it from its value."""
    at = after(_quoted(scan, at), b": ")
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
        if closing == 0x7D:
            at = _name(scan, at)
        at = value(scan, at, depth + 1)
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


cdef Text value(Scan* scan, Text at, int depth) noexcept nogil:
    """Past any value that begins here, its lines indented by as many levels."""
    cdef unsigned char first
    if at == NULL:
        return NULL
    first = at[0]
    if first == 0x22:
        return _quoted(scan, at)
    if first == 0x7B:
        return _several(scan, at, depth, 0x7D)
    if first == 0x5B:
        return _several(scan, at, depth, 0x5D)
    if first == 0x74:
        return _copied(scan, at, after(at, b"true"))
    if first == 0x66:
        return _copied(scan, at, after(at, b"false"))
    if first == 0x6E:
        return _copied(scan, at, after(at, b"null"))
    return _copied(scan, at, _number(at))


cdef Text hex_digits(Text at, int digits, Span* span) noexcept nogil:
    """Past a string of so many hex digits, none of them a capital."""
    if at == NULL or at[0] != 0x22:
        return NULL
    at += 1
    span.start = at
    while digits:
        if not IS_SMALL_HEX[at[0]]:
            return NULL
        at += 1
        digits -= 1
    span.stop = at
    if at[0] != 0x22:
        return NULL
    return at + 1
