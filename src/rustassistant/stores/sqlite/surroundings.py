"""What the operating system knows of a database file: its file system, and who has locked it.

Both are read from Linux's /proc; elsewhere the answers are "unknown", never an error.
"""

from __future__ import annotations

import os
import re
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from typing import Final

_NETWORK: Final = frozenset(
    ("nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afs", "ncpfs", "ceph", "glusterfs",
     "lustre", "gpfs", "beegfs", "davfs", "davfs2", "sshfs", "fuse.sshfs", "fuse.rclone",
     "fuse.s3fs", "fuse.glusterfs", "fuse.davfs2", "fuse.gcsfuse", "fuse.cephfs")
)  # fmt: skip

_SHARED: Final = frozenset(("9p", "virtiofs", "vboxsf", "vmhgfs", "prl_fs", "drvfs"))

_COARSEST_CLOCK_NS: Final = 2 * 10**9
"""FAT's times are in steps of two seconds; no other file system's are longer."""

_OCTAL: Final = re.compile(rb"\\([0-7]{3})")


def network_file_system(path: str) -> str | None:
    """The kind of network file system that ``path`` lies on, or None for a local or unknown one."""
    kind = _file_system(path)
    return kind if kind in _NETWORK else None


def tells_no_changes(path: str) -> str | None:
    """The kind of file system that ``path`` lies on if others can change it behind the kernel's
    back, as over a network, through FUSE or from outside a virtual machine; None if not."""
    kind = _file_system(path)
    return kind if kind in _NETWORK | _SHARED or kind.startswith("fuse") else None


def _file_system(path: str) -> str:
    """Its kind, empty where that can't be told."""
    place = os.fsencode(os.path.realpath(path))
    best, kind = b"", ""
    with suppress(OSError), open("/proc/self/mountinfo", "rb") as mounts:
        for line in mounts:
            before, _, after = line.partition(b" - ")
            point = _OCTAL.sub(lambda code: bytes([int(code[1], 8)]), before.split(b" ")[4])
            inside = place == point or place.startswith(point.rstrip(b"/") + b"/")
            if inside and len(point) >= len(best):
                best, kind = point, after.split(b" ", 1)[0].decode("ascii", "replace")
    return kind


def file_state(path: str) -> bytes | None:
    """16 bytes that are others after every change to a database: of the file and of its log.

    None if it has changed so lately that another change might not show in its time. Size alone
    would not do, as SQLite writes over pages, nor would its own counter, which a log leaves alone.
    """
    now = time.time_ns()
    digest = blake2b(digest_size=16)
    for suffix in ("", "-wal"):
        try:
            status = os.stat(path + suffix)
        except FileNotFoundError:
            continue
        except OSError:
            return None
        if suffix and not status.st_size:
            continue  # a reader makes one too
        if status.st_mtime_ns > now - _COARSEST_CLOCK_NS:
            return None
        digest.update(
            struct.pack(
                "<QQQqq",
                status.st_dev,
                status.st_ino,
                status.st_size,
                status.st_mtime_ns,
                status.st_ctime_ns,
            )
        )
    return digest.digest()


def lock_holder(path: str, *, readers: bool = False) -> str:
    """Who holds locks on a SQLite file, for a message: process ids and their commands."""
    kinds = ("WRITE", "READ") if readers else ("WRITE",)
    holders = sorted(set(_lock_holders(path, kinds)) - {os.getpid()})
    if not holders:
        return "another process"
    return " and ".join(f"process {pid} ({_command(pid)})" for pid in holders)


def _lock_holders(path: str, kinds: tuple[str, ...]) -> Iterator[int]:
    wanted = set()
    for suffix in ("", "-shm"):
        with suppress(OSError):
            status = os.stat(path + suffix)
            device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
            wanted.add(f"{device}:{status.st_ino}")
    with suppress(OSError), open("/proc/locks", encoding="utf-8") as locks:
        for line in locks:
            # 1: POSIX  ADVISORY  WRITE 4711 fe:00:131072 120 120
            parts = line.split()
            if parts[1] == "->":
                continue  # somebody who waits
            if parts[3] in kinds and parts[5] in wanted and int(parts[4]) > 0:
                yield int(parts[4])


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().rstrip(b"\0").split(b"\0")
    except OSError:
        return "unknown"
    return b" ".join(words).decode("utf-8", "backslashreplace")[:120]
