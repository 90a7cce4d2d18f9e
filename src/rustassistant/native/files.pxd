# cython: language_level=3
"""What a file's status says, for what reads many files."""

from libc.stdint cimport int64_t, uint64_t


cdef extern from "<sys/stat.h>" nogil:
    struct timespec:
        int64_t tv_sec
        int64_t tv_nsec
    struct Status "stat":
        int st_mode
        int64_t st_size
        uint64_t st_ino
        timespec st_mtim
        timespec st_ctim


cdef int64_t stamp_of(const Status* status) noexcept nogil
