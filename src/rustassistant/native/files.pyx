# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
"""Looking at many files of one directory: what they are called, which of them are as they were."""

from libc cimport errno
from libc.string cimport memcmp, strlen

cdef extern from "Python.h":
    bytes PyUnicode_EncodeFSDefault(object text)
    str PyUnicode_DecodeFSDefaultAndSize(const char* text, Py_ssize_t size)
    uint64_t PyLong_AsUnsignedLongLongMask(object number) except? 0xFFFFFFFFFFFFFFFF


cdef extern from "<fcntl.h>" nogil:
    const int AT_SYMLINK_NOFOLLOW


cdef extern from "<sys/stat.h>" nogil:
    int fstatat(int directory, const char* name, Status* status, int flags)


cdef extern from "<dirent.h>" nogil:
    const unsigned char DT_REG
    ctypedef struct DIR:
        pass
    struct dirent:
        unsigned char d_type
        char* d_name
    DIR* opendir(const char* path)
    dirent* readdir(DIR* directory)
    int closedir(DIR* directory)


cdef inline uint64_t _mixed(uint64_t value) noexcept nogil:
    """The last step of splitmix64 (Steele, Lea and Flood, 2014, with Stafford's constants)."""
    value = (value ^ value >> 30) * <uint64_t>0xBF58476D1CE4E5B9
    value = (value ^ value >> 27) * <uint64_t>0x94D049BB133111EB
    return value ^ value >> 31


cdef int64_t _stamp(
    uint64_t size, uint64_t modified, uint64_t changed, uint64_t inode
) noexcept nogil:
    cdef uint64_t golden = <uint64_t>0x9E3779B97F4A7C15
    cdef uint64_t state = _mixed(size + golden)
    state = _mixed((state ^ modified) + golden)
    state = _mixed((state ^ changed) + golden)
    state = _mixed((state ^ inode) + golden)
    return <int64_t>(state & <uint64_t>0xFFFFFFFFFFFF) - (<int64_t>1 << 47)


cdef inline uint64_t _nanoseconds(timespec then) noexcept nogil:
    """Modulo 2**64, since a file's time may lie beyond: ext4 knows years up to 2446."""
    return <uint64_t>then.tv_sec * 1_000_000_000 + <uint64_t>then.tv_nsec


cdef int64_t stamp_of(const Status* status) noexcept nogil:
    return _stamp(
        status.st_size,
        _nanoseconds(status.st_mtim),
        _nanoseconds(status.st_ctim),
        status.st_ino,
    )


def stamp(size, modified, changed, inode):
    """What ``reading.stamp_of`` makes of a file's size, its two times and its inode."""
    return _stamp(
        PyLong_AsUnsignedLongLongMask(size),
        PyLong_AsUnsignedLongLongMask(modified),
        PyLong_AsUnsignedLongLongMask(changed),
        PyLong_AsUnsignedLongLongMask(inode),
    )


def unchanged(int directory, tuple names not None, list known not None):
    """Positions of the files that have one of the stamps known of them, and their bytes in all.

    ``directory`` is an open descriptor; ``known`` holds, for each of the names, stamps or None.
    """
    cdef Status status
    cdef bytes encoded
    cdef const char* name
    cdef int failed
    cdef int64_t size = 0
    found = []
    if len(names) != len(known):
        raise ValueError("not as many names as stamps")
    for position in range(len(names)):
        stamps = known[position]
        if not stamps:
            continue
        encoded = PyUnicode_EncodeFSDefault(names[position])
        name = encoded
        with nogil:
            failed = fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW)
        if failed:
            continue
        if stamp_of(&status) in stamps:
            found.append(position)
            size += status.st_size
    return found, size


cdef inline bint _is_dots(const char* name) noexcept nogil:
    """Whether it is the directory itself or the one above."""
    return name[0] == 0x2E and (name[1] == 0 or name[1] == 0x2E and name[2] == 0)


def names_alone(path, bytes suffix not None):
    """Names of what lies in a directory, in no order, if all of it are regular files with that
    suffix; None if anything else lies there too, or if that can't be told."""
    cdef bytes encoded = PyUnicode_EncodeFSDefault(path)
    cdef const char* ending = suffix
    cdef Py_ssize_t length = len(suffix), size
    cdef dirent* one
    cdef const char* place = encoded
    cdef DIR* directory
    cdef list names = []
    with nogil:
        directory = opendir(place)
    if directory == NULL:
        return None
    try:
        while True:
            with nogil:
                errno.errno = 0
                one = readdir(directory)
            if one == NULL:
                return None if errno.errno else names
            if _is_dots(one.d_name):
                continue
            size = strlen(one.d_name)
            if one.d_type != DT_REG or size < length:
                return None
            if memcmp(one.d_name + size - length, ending, length):
                return None
            names.append(PyUnicode_DecodeFSDefaultAndSize(one.d_name, size))
    finally:
        closedir(directory)
