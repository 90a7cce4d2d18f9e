# cython: language_level=3
"""What is found in an entry's file, for what reads many of them."""

from libc.stdint cimport int64_t

from rustassistant.native.values cimport Scan, Span, Text

cdef enum:
    HASH_BYTES = 32


cdef struct Fields:
    Span file_path
    Span file_hash
    Span cache_key  # nowhere in an entry from before keys, as are prompt_hash and schema_version
    Span provider
    Span model
    Span prompt_hash
    int64_t schema_version
    int64_t moment
    Span result
    int64_t tokens_used  # -1 for null
    int64_t file_size  # likewise
    Span cache_type


cdef bint find_fields(Text start, Text end, unsigned char* room, Fields* fields) noexcept nogil
cdef void unhex(Span span, unsigned char* room) noexcept nogil
cdef bytes unhexed(Span span)
cdef bytes bytes_of(Span span)
cdef str str_of(Span span)
