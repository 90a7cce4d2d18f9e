# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, freethreading_compatible=True
"""Records of entries that were read, made many at a time.

It goes as far as there is nothing to be said: what could not be read, has notes or is to be kept as
a whole is left to ``transfer.encoding``, as is all that comes after it.
"""

from libc.stdint cimport int64_t


def encode_usual(
    list items not None,
    Py_ssize_t start,
    list records not None,
    *,
    compressors,
    known,
    compressed,
    found,
    record,
    seal,
    sha256,
    Py_ssize_t digest_bytes,
):
    """Append the records of ``items`` from ``start`` on; tell how far that went, and the bytes that
    these take in the source.

    ``compressors`` gives a dictionary's id and a compressor by type; ``known`` are results by
    dictionary and digest, and ``compressed`` makes those that are not, as `codec.Encoder` does.
    """
    cdef Py_ssize_t position = start
    cdef int64_t size = 0
    cdef object item, entry
    for position in range(start, len(items)):
        item = items[position]
        if type(item) is not found:
            break
        entry, _, length, name, stamp, notes = item
        if notes or entry.original is not None:
            break
        cache_type, text = entry.cache_type, entry.result
        dictionary_id, compressor = compressors(cache_type)
        digest = sha256(text).digest()[:digest_bytes]
        result = known.get((dictionary_id, digest))
        if result is None:
            result = compressed(text, dictionary_id, compressor, digest)
        frame, usage = result
        path, content, bytes_there = entry.file_path, entry.file_hash, entry.file_size
        producer = (entry.provider, entry.model, entry.prompt_hash, entry.schema_version)
        moment, tokens = entry.analyzed_at, entry.tokens_used
        sealed = seal(cache_type, path, content, bytes_there, producer, moment, tokens, digest)
        records.append(
            record(
                path,
                content,
                bytes_there,
                producer[0],
                producer[1],
                producer[2],
                producer[3],
                moment,
                tokens,
                frame,
                digest,
                len(text),
                dictionary_id,
                None,
                name,
                stamp,
                sealed,
                usage,
            )
        )
        size += <int64_t>length
    else:
        position = len(items)
    return position, size
