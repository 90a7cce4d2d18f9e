"""What a figure was measured on: nothing that names the machine or its user."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import apsw

from rustassistant import native

_PACKAGES: Final = (
    "rustassistant", "apsw", "msgspec", "zstandard", "sqlite-utils", "diskcache", "duckdb",
)  # fmt: skip


def machine(work: Path) -> dict[str, Any]:
    """Processor, memory, kernel, file system of ``work``, load, versions."""
    return {
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "compiled": native.take_apart is not None,
        "sqlite": apsw.sqlite_lib_version(),
        "file_system": _file_system(work),
        "load_before": round(os.getloadavg()[0], 2),
        "tar": _first_line("tar"),
        "find": _first_line("find"),
        "packages": _versions(),
    }


def described(known: dict[str, Any]) -> str:
    """In a sentence or two."""
    packages = ", ".join(f"{name} {number}" for name, number in known["packages"].items())
    entries = "entries read by compiled code" if known["compiled"] else "all in Python"
    return (
        f"{known['cpu']}, {known['cpus']} processors, {known['memory_bytes'] / 2**30:.0f} GiB; "
        f"{known['kernel']}, {known['file_system']}; {known['python']}, SQLite {known['sqlite']}, "
        f"{known['tar']}; {entries}; {packages}. Load before: {known['load_before']:.2f}."
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def _file_system(place: Path) -> str:
    """Of the longest mount point that ``place`` lies below."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown file system"
    real = place.resolve()
    over = [mount for mount in mounts if real.is_relative_to(mount[1])]
    return max(over, key=lambda mount: len(mount[1]))[2] if over else "unknown file system"


def _first_line(program: str) -> str:
    if shutil.which(program) is None:
        return f"no {program}"
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return (done.stdout.splitlines() or [program])[0]


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
