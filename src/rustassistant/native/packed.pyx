# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, freethreading_compatible=True
"""Records as ``records.pyx`` and `rustassistant.records` pack them, one behind the other."""

from rustassistant.native.msgpack cimport (
    take_array, take_bytes, take_bytes_if_any, take_if_any, take_int, take_nil, take_text,
    take_text_if_any
)

cdef enum:
    DIGEST_BYTES = 16  # as in codec


cdef Text _usage(Text at, Text end, Record* record) noexcept nogil:
    cdef int64_t count
    cdef Text behind = take_nil(at, end)
    record.has_usage = behind == NULL
    if behind != NULL:
        return behind
    at = take_array(at, end, &count)
    if count != 2:
        return NULL
    return take_int(take_int(at, end, &record.input_tokens), end, &record.output_tokens)


cdef Text past_record(Text at, Text end, Record* record) noexcept nogil:
    """Past a record, if nothing is out of the ordinary with it: it keeps no whole file."""
    cdef int64_t columns = 0
    at = take_array(at, end, &columns)
    if columns != COLUMNS:
        return NULL
    at = take_text(at, end, &record.file_path)
    at = take_bytes(at, end, &record.file_hash)
    at = take_if_any(at, end, &record.file_size, &record.has_no_size)
    record.request.start = at
    at = take_text(at, end, &record.provider)
    at = take_text(at, end, &record.model)
    at = take_text_if_any(at, end, &record.prompt_hash)
    at = take_if_any(at, end, &record.schema_version, &record.has_no_version)
    record.request.stop = at
    at = take_int(at, end, &record.analyzed_at)
    at = take_if_any(at, end, &record.tokens_used, &record.has_no_tokens)
    at = take_bytes(at, end, &record.result)
    at = take_bytes(at, end, &record.digest)
    at = take_int(at, end, &record.result_size)
    at = take_if_any(at, end, &record.dictionary_id, &record.has_no_dictionary)
    at = take_nil(at, end)
    at = take_bytes_if_any(at, end, &record.name)
    at = take_if_any(at, end, &record.stamp, &record.has_no_stamp)
    at = take_int(at, end, &record.seal)
    at = _usage(at, end, record)
    return at if at != NULL and record.digest.stop - record.digest.start == DIGEST_BYTES else NULL


cdef Text past_any(Text at, Text end) noexcept nogil:
    """Past any value that a record is made of, and all that it holds."""
    cdef int64_t left = 1, count, number
    cdef Span span
    cdef Text behind
    while left and at != NULL:
        left -= 1
        behind = take_array(at, end, &count)
        if behind != NULL:
            left += count
        else:
            behind = take_nil(at, end)
        if behind == NULL:
            behind = take_text(at, end, &span)
        if behind == NULL:
            behind = take_bytes(at, end, &span)
        if behind == NULL:
            behind = take_int(at, end, &number)
        if behind == NULL and end - at >= 9 and at[0] == 0xCF:  # more than 63 bits
            behind = at + 9
        at = behind
    return at
