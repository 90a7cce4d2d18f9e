# cython: language_level=3
"""What is found in a record that was packed, for what takes many of them in."""

from libc.stdint cimport int64_t

from rustassistant.native.values cimport Span, Text

cdef enum:
    COLUMNS = 18  # of a record


cdef struct Record:  # as `rustassistant.records.Record`, without ``original``
    Span file_path
    Span file_hash
    int64_t file_size
    bint has_no_size
    Span request  # provider, model, prompt_hash and schema_version, as they are packed
    Span provider
    Span model
    Span prompt_hash  # may be nowhere, as may be name
    int64_t schema_version
    bint has_no_version
    int64_t analyzed_at
    int64_t tokens_used
    bint has_no_tokens
    Span result
    Span digest
    int64_t result_size
    int64_t dictionary_id
    bint has_no_dictionary
    Span name
    int64_t stamp
    bint has_no_stamp
    int64_t seal
    int64_t input_tokens
    int64_t output_tokens
    bint has_usage


cdef Text past_record(Text at, Text end, Record* record) noexcept nogil
cdef Text past_any(Text at, Text end) noexcept nogil
