"""What lies in an archive: tar headers as data, and data as tar headers, hostile ones refused."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from typing import IO, Any, Final, NamedTuple, cast

_NANOSECONDS: Final = 10**9
_KINDS: Final = {
    tarfile.REGTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "link",
    tarfile.FIFOTYPE: "fifo",
}
_TYPES: Final = {kind: type_ for type_, kind in _KINDS.items()}
_HEADERS_OF_HEADERS: Final = frozenset(
    (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
     tarfile.GNUTYPE_LONGLINK)
)  # fmt: skip
_MAX_HEADER_BYTES: Final = 64 * 2**10
"""Of the records before a header, which `tarfile` reads at once: a path takes some thousands."""

_MAX_SECONDS: Final = 2**40


class Member(NamedTuple):
    """Something in an archive. ``parts`` are the names that lead to it; ``mtime`` nanoseconds since
    1970; ``target`` is where a link leads."""

    kind: str
    parts: tuple[str, ...]
    mode: int
    mtime: int
    size: int = 0
    target: str = ""

    @property
    def name(self) -> str:
        """As the archive has it."""
        return "/".join(self.parts)


def member_of(parts: tuple[str, ...], status: os.stat_result, target: str = "") -> Member:
    """What lies on the disk. Owners are left out, as they are in other copies of ours."""
    mode = status.st_mode
    kind = "file" if stat.S_ISREG(mode) else "directory" if stat.S_ISDIR(mode) else "fifo"
    kind = "link" if stat.S_ISLNK(mode) else kind
    size = status.st_size if kind == "file" else 0
    return Member(kind, parts, stat.S_IMODE(mode), status.st_mtime_ns, size, target)


def header_of(member: Member) -> tarfile.TarInfo:
    """Its tar header, with the time to the nanosecond in a PAX record."""
    header = tarfile.TarInfo(member.name)
    header.type = _TYPES[member.kind]
    header.mode = member.mode
    header.size = member.size
    header.linkname = member.target
    header.mtime = member.mtime // _NANOSECONDS
    header.pax_headers = {"mtime": _seconds(member.mtime)}
    return header


def _seconds(nanoseconds: int) -> str:
    whole, rest = divmod(abs(nanoseconds), _NANOSECONDS)
    return f"{'-' if nanoseconds < 0 else ''}{whole}.{rest:09}"


def _nanoseconds(text: str) -> int:
    whole, _, rest = text.removeprefix("-").partition(".")
    if not (whole + rest).isdecimal() or len(rest) > 9 or int(whole) > _MAX_SECONDS:
        raise ValueError(f"the time {text[:40]} makes no sense")
    value = int(whole) * _NANOSECONDS + int(rest.ljust(9, "0"))
    return -value if text.startswith("-") else value


class _Header(tarfile.TarInfo):
    """Refuses records so long that reading them at once would take the memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Any:
        header = super().frombuf(buf, encoding, errors)
        if header.type in _HEADERS_OF_HEADERS and header.size > _MAX_HEADER_BYTES:
            raise tarfile.ReadError("a header is longer than any name")
        return header


def read_members(stream: IO[bytes]) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """Each header with its content, None where it has none; to be read before the next is asked
    for. Keeps none of them in memory. Raises tarfile.TarError, ValueError."""
    with tarfile.open(
        fileobj=stream,
        mode="r|",
        tarinfo=_Header,
        encoding="utf-8",
        errors="surrogateescape",
    ) as tar:
        while (header := tar.next()) is not None:
            forget(tar)
            is_file = header.type == tarfile.REGTYPE
            yield header, cast("IO[bytes]", tar.extractfile(header)) if is_file else None


def forget(tar: tarfile.TarFile) -> None:
    """Have it drop the members so far: it would keep all there are."""
    tar.members = []  # type: ignore[attr-defined]


def from_header(header: tarfile.TarInfo) -> Member:
    """A member, if it is one that we write. Raises ValueError for what would do harm: devices, hard
    links, names that lead elsewhere, sizes that are not those of the content."""
    kind = _KINDS.get(header.type)
    if kind is None or header.sparse is not None:
        raise ValueError(f"{header.name!r} is neither file, directory, link nor FIFO")
    parts = tuple(header.name.split("/"))
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise ValueError(f"{header.name!r} is a name that leads elsewhere")
    if header.size and kind != "file":
        raise ValueError(f"{header.name!r} has content, which its kind has not")
    mtime = _nanoseconds(header.pax_headers.get("mtime", str(int(header.mtime))))
    target = header.linkname if kind == "link" else ""
    if (kind == "link") != bool(target) or "\0" in target:
        raise ValueError(f"{header.name!r} leads nowhere")
    return Member(kind, parts, stat.S_IMODE(header.mode), mtime, header.size, target)


class Order:
    """Sees to it that members come as we write them: one directory on top, each thing right below a
    directory that came before it, by name. So nothing comes twice, and nothing is ever written
    through a link."""

    def __init__(self) -> None:
        self._last: tuple[bytes, ...] = ()
        self._directory: tuple[str, ...] = ()

    def check(self, member: Member) -> None:
        """Raise ValueError for the first that does not fit."""
        place = tuple(map(os.fsencode, member.parts))
        above = member.parts[:-1]
        first = not self._last
        if place <= self._last or self._directory[: len(above)] != above or first == bool(above):
            raise ValueError(f"{member.name!r} is not where it belongs")
        if first and member.kind != "directory":
            raise ValueError(f"{member.name!r} is no directory")
        self._last = place
        self._directory = member.parts if member.kind == "directory" else above


def leads_outside(parts: tuple[str, ...], target: str) -> bool:
    """Whether a link at ``parts``, below the root, can lead out of the root.

    The directories above it are real ones, so leading ``..`` are what they seem. One that comes
    later may follow another link, and is not trusted.
    """
    steps = [step for step in target.split("/") if step not in ("", ".")]
    up = 0
    while up < len(steps) and steps[up] == "..":
        up += 1
    return target.startswith("/") or up > len(parts) - 1 or ".." in steps[up:]


def manifest_lines(member: Member, digest: str) -> bytes:
    """What the manifest says of a member: all that is known of it."""
    name = _escaped(member.name)
    mark = b"\\" if name != os.fsencode(member.name) else b""
    facts = f"# {member.kind} {member.mode:04o} {_seconds(member.mtime)} {member.size}\n".encode()
    if member.kind == "file":
        return facts + mark + digest.encode() + b"  " + name + b"\n"
    if member.kind == "link":
        return facts + b"# " + name + b" -> " + _escaped(member.target) + b"\n"
    return facts + b"# " + name + b"\n"


def _escaped(name: str) -> bytes:
    """As ``sha256sum`` writes names that have a line's end or a backslash in them."""
    return os.fsencode(name).replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
