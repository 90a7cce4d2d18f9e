"""What is to be compiled; all else is said in ``pyproject.toml``."""

from pathlib import Path

from setuptools import Extension, setup

_NATIVE = Path("src/rustassistant/native")

setup(
    ext_modules=[
        # Optional: where there is no C compiler, all is done in Python, and takes longer.
        Extension(
            f"rustassistant.native.{source.stem}",
            [source.as_posix()],
            depends=[header.as_posix() for header in _NATIVE.glob("*.pxd")],
            optional=True,
        )
        for source in sorted(_NATIVE.glob("*.pyx"))
    ]
)
