from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import types
from pathlib import Path

import pytest

import rustassistant
from rustassistant import inspection

PUBLIC = {
    "AnalysisCache",
    "CacheExporter",
    "CacheImporter",
    "CacheMigrator",
    "CacheStatistics",
    "CacheType",
    "CacheVerifier",
    "CachedAnalysis",
    "Computed",
    "DamagedEntryWarning",
    "ExportResult",
    "ImportResult",
    "MigrationConflict",
    "MigrationFailure",
    "MigrationProgress",
    "MigrationResult",
    "NotKeptWarning",
    "OnConflict",
    "Rehearsal",
    "RustAssistantError",
    "Selection",
    "Spending",
    "Verification",
    "__version__",
}


def in_a_new_process(source: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_exactly_these_names_are_public() -> None:
    assert set(rustassistant.__all__) == PUBLIC
    assert len(rustassistant.__all__) == len(PUBLIC)
    assert set(dir(rustassistant)) == PUBLIC


def test_every_name_of_the_room_that_looks_can_be_had_and_no_other() -> None:
    for name in inspection.__all__:
        assert getattr(inspection, name).__name__ == name
    with pytest.raises(AttributeError):
        inspection.looking  # noqa: B018


def test_every_public_name_can_be_had_and_is_explained() -> None:
    for name in PUBLIC - {"__version__"}:
        thing = getattr(rustassistant, name)
        assert inspect.isclass(thing)
        assert thing.__name__ == name
        assert inspect.getdoc(thing)
        assert not isinstance(thing, types.ModuleType)


def test_every_public_method_is_explained_and_typed() -> None:
    for name in PUBLIC - {"__version__", "CacheType"}:
        for attribute, value in vars(getattr(rustassistant, name)).items():
            if attribute.startswith("_") or not isinstance(value, types.FunctionType | property):
                continue
            function = value.fget if isinstance(value, property) else value
            assert function is not None
            assert inspect.getdoc(function), f"{name}.{attribute}"
            assert "return" in function.__annotations__, f"{name}.{attribute}"


def test_star_import_brings_all_of_them_and_nothing_else() -> None:
    got = in_a_new_process(
        "before = set(globals()) | {'before'}\n"
        "from rustassistant import *\n"
        "print(*sorted(set(globals()) - before))"
    )
    assert set(got.split()) == PUBLIC


def test_importing_the_package_imports_little_of_it() -> None:
    got = in_a_new_process(
        "import sys\n"
        "before = set(sys.modules)\n"
        "import rustassistant\n"
        "rustassistant.__version__\n"
        "heavy = {'apsw', 'msgspec', 'rich', 'typer', 'zstandard', 'importlib.metadata'}\n"
        "new = set(sys.modules) - before\n"
        "print(*sorted(n for n in new if n in heavy or n.startswith('rustassistant.')))"
    )
    assert got == "rustassistant.version\n"


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_each_name_can_be_the_first_to_be_imported(name: str) -> None:
    got = in_a_new_process(f"from rustassistant import {name}; print({name!r} in repr({name!s}))")
    assert got == ("False\n" if name == "__version__" else "True\n")


def test_errors_can_be_had_without_the_rest() -> None:
    got = in_a_new_process(
        "import sys\n"
        "from rustassistant import RustAssistantError\n"
        "print('apsw' in sys.modules, 'msgspec' in sys.modules)"
    )
    assert got == "False False\n"


def test_unknown_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match=r"'rustassistant' has no attribute 'CacheMigrater'"):
        _ = rustassistant.CacheMigrater


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(rustassistant.__file__).read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rustassistant.")
        for alias in node.names
    }
    assert imported == PUBLIC
    assert (Path(rustassistant.__file__).parent / "py.typed").exists()


def test_version_follows_the_rules() -> None:
    assert all(part.isdigit() for part in rustassistant.__version__.split(".")[:2])
