"""What Python does to files by itself, sent through one function: calls of ``os``, and writing.

Covered is what the program uses: paths, paths below an open directory, and paths through
``/proc/self/fd``. It takes over the process, for good: only for a child that does nothing else.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import posix
import stat
from collections.abc import Callable
from typing import Any, Final

from rustassistant import codec
from rustassistant.stores import renaming
from rustassistant.stores.json_tree import scanning as json_scanning
from rustassistant.stores.json_tree import store as json_store

_OPEN_FILES: Final = "/proc/self/fd/"
_EXCHANGE: Final = 2
"""``RENAME_EXCHANGE``, as in ``renaming``."""

Run = Callable[..., Any]
"""Takes the kind, the path and what does it, and by name what else there is to say."""


def exists(path: str) -> bool:
    """As the system says, unheard by `SystemCalls`."""
    try:
        posix.lstat(path)
    except OSError:
        return False
    return True


def _is_directory(descriptor: int) -> bool:
    return stat.S_ISDIR(posix.fstat(descriptor).st_mode)


class SystemCalls:
    """Names every call by its kind and its whole path, and hands it to ``run``."""

    def __init__(self, run: Run, root: str, *, is_plain: bool = False) -> None:
        """``is_plain``: the file system knows no links, and can't swap names."""
        self._run = run
        self._root = root
        self._is_plain = is_plain
        self._paths: dict[int, str] = {}
        for name in ("open", "close", "dup", "mkdir", "rmdir", "unlink", "rename", "link", "read",
                     "pwrite", "ftruncate", "fsync", "sync", "scandir"):  # fmt: skip
            setattr(os, name, getattr(self, f"_{name}"))
        for name in ("stat", "lstat", "fstat", "listdir"):
            setattr(os, name, self._looking(getattr(posix, name)))
        # Compiled code asks the system itself, and leaves all that fails to what is asked here.
        for module, name in (
            (json_scanning, "names_alone"),
            (json_store, "Reader"),
            (json_store, "unchanged"),
            (codec, "Packer"),
        ):
            setattr(module, name, None)
        self._really_open: Any = builtins.open
        builtins.open = io.open = self._open_file
        self._really_rename: Any = renaming._rename
        renaming._rename = self._rename_or_exchange

    def _where(self, path: Any, directory: int | None = None) -> str:
        if isinstance(path, int):
            return self._paths.get(path, "")
        text = os.fsdecode(path)
        if text.startswith(_OPEN_FILES):
            number, _, rest = text[len(_OPEN_FILES) :].partition("/")
            return os.path.join(self._paths.get(int(number), ""), rest)
        return text if directory is None else os.path.join(self._paths.get(directory, ""), text)

    def _by_python(self, kind: str, path: str, proceed: Any, **facts: Any) -> Any:
        return self._run(kind, path, proceed, by_python=True, **facts)

    # Descriptors.

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        where = self._where(path, dir_fd)

        def proceed(_: bytes) -> int:
            descriptor = posix.open(path, flags, mode, dir_fd=dir_fd)
            self._paths[descriptor] = where
            return descriptor

        kind = "create" if flags & os.O_CREAT and not exists(where) else "open"
        answer: int = self._by_python(kind, where, proceed)
        return answer

    def _close(self, descriptor: int) -> None:
        self._paths.pop(descriptor, None)
        posix.close(descriptor)

    def _dup(self, descriptor: int) -> int:
        made = posix.dup(descriptor)
        if descriptor in self._paths:
            self._paths[made] = self._paths[descriptor]
        return made

    def _read(self, descriptor: int, size: int) -> bytes:
        if descriptor not in self._paths:
            return posix.read(descriptor, size)
        answer: bytes = self._by_python(
            "read", self._paths[descriptor], lambda _: posix.read(descriptor, size)
        )
        return answer

    def _pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        def proceed(part: bytes) -> int:
            return posix.pwrite(descriptor, part, offset)

        where = self._paths.get(descriptor, "")
        answer: int = self._by_python("write", where, proceed, data=bytes(data), offset=offset)
        return answer

    def _ftruncate(self, descriptor: int, size: int) -> None:
        def proceed(_: bytes) -> None:
            posix.ftruncate(descriptor, size)

        self._by_python("truncate", self._paths.get(descriptor, ""), proceed, size=size)

    def _fsync(self, descriptor: int) -> None:
        where = self._paths.get(descriptor, "")
        kind = "sync directory" if _is_directory(descriptor) else "sync"
        self._by_python(kind, where, lambda _: posix.fsync(descriptor))

    def _sync(self) -> None:
        """Of everything, it says; what others have written to this machine's disks can wait."""
        self._by_python("sync all", self._root, lambda _: None)

    def _open_file(
        self, file: Any, mode: str = "r", buffering: int = -1, *args: Any, **options: Any
    ) -> Any:
        if mode != "wb" or (isinstance(file, int) and file not in self._paths):
            return self._really_open(file, mode, buffering, *args, **options)
        if not isinstance(file, int):
            file = self._open(file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
            self._ftruncate(file, 0)
        raw = _Written(file, self._paths, self._by_python)
        return raw if buffering == 0 else io.BufferedWriter(raw, max(buffering, 512))

    # Names.

    def _mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        where = self._where(path, dir_fd)
        if exists(where):
            posix.mkdir(path, mode, dir_fd=dir_fd)  # which says so
        self._by_python("mkdir", where, lambda _: posix.mkdir(path, mode, dir_fd=dir_fd))

    def _rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        where = self._where(path, dir_fd)
        self._by_python("rmdir", where, lambda _: posix.rmdir(path, dir_fd=dir_fd))

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        where = self._where(path, dir_fd)
        if not exists(where):
            posix.unlink(path, dir_fd=dir_fd)
        self._by_python("delete", where, lambda _: posix.unlink(path, dir_fd=dir_fd))

    def _rename(
        self, old: Any, new: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
    ) -> None:
        def proceed(_: bytes) -> None:
            posix.rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

        where, target = self._where(old, src_dir_fd), self._where(new, dst_dir_fd)
        if not exists(where):
            proceed(b"")
        self._by_python("rename", where, proceed, target=target)

    def _link(
        self,
        old: Any,
        new: Any,
        *,
        src_dir_fd: int | None = None,
        dst_dir_fd: int | None = None,
        follow_symlinks: bool = True,
    ) -> None:
        def proceed(_: bytes) -> None:
            posix.link(
                old,
                new,
                src_dir_fd=src_dir_fd,
                dst_dir_fd=dst_dir_fd,
                follow_symlinks=follow_symlinks,
            )

        where, target = self._where(old, src_dir_fd), self._where(new, dst_dir_fd)
        if self._is_plain:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM), where, None, target)
        if exists(target) or not exists(where):
            proceed(b"")
        self._by_python("link", where, proceed, target=target)

    def _rename_or_exchange(self, old: str, new: str, flags: int) -> Any:
        def proceed(_: bytes) -> Any:
            return self._really_rename(old, new, flags)

        if self._is_plain:
            return False
        where, target = self._where(old), self._where(new)
        kind = "exchange" if flags == _EXCHANGE else "rename"
        if not exists(where) or exists(target) != (kind == "exchange"):
            proceed(b"")  # which says so
        return self._by_python(kind, where, proceed, target=target)

    # Looking.

    def _looking(self, real: Any) -> Any:
        def looks(path: Any = ".", *, dir_fd: int | None = None, **options: Any) -> Any:
            def proceed(_: bytes) -> Any:
                if dir_fd is not None:
                    options["dir_fd"] = dir_fd
                return real(path, **options)

            return self._by_python("look", self._where(path, dir_fd), proceed)

        return looks

    def _scandir(self, path: Any = ".") -> Any:
        return self._by_python("look", self._where(path), lambda _: posix.scandir(path))


class _Written(io.FileIO):
    """A file that is being written to from its beginning."""

    def __init__(self, descriptor: int, paths: dict[int, str], run: Run) -> None:
        super().__init__(descriptor, "wb")
        self._paths = paths
        self._run = run
        self._offset = 0

    def write(self, data: Any) -> int:
        text = bytes(data)
        real = super().write

        def proceed(part: bytes) -> int:
            real(part)
            return len(part)

        path = self._paths[self.fileno()]
        written: int = self._run("write", path, proceed, data=text, offset=self._offset)
        self._offset += written
        return written

    def close(self) -> None:
        """Its number may soon be another file's."""
        if not self.closed:
            self._paths.pop(self.fileno(), None)
        super().close()
