from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import apsw
import pytest

from rustassistant import CacheMigrator
from rustassistant.cli.app import run
from support import SHARED, Cache, fields_of, snapshot

CONTENT = b"fn main() {}\n"
NEW_PROMPT = "b56f6b9b1ff77eac"


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def object(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


class Get(Protocol):
    def __call__(self, *arguments: str | Path, stdin: bytes = b"") -> Ran: ...


@pytest.fixture
def get(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Get:
    """`rustassistant cache get` in this process: quick, with its true exit code."""

    def call(*arguments: str | Path, stdin: bytes = b"") -> Ran:
        monkeypatch.setattr(sys, "argv", ["rustassistant", "cache", "get", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as exited:
            run()
        out, err = capfdbinary.readouterr()
        assert b"Traceback" not in err
        return Ran(int(exited.value.code or 0), out.decode(), err.decode())

    return call


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command looks unless told otherwise."""
    place = tmp_path / "cache.db"
    monkeypatch.setenv("RUSTASSISTANT_DESTINATION", str(place))
    return place


Fill = Callable[..., None]


@pytest.fixture
def fill(tmp_path: Path, database: Path) -> Fill:
    """Put an entry, made from its fields, into the database."""
    count = iter(range(1000))

    def add(**fields: Any) -> None:
        cache = Cache(tmp_path / f"cache{next(count)}" / "repos")
        cache.add(**fields)
        result = CacheMigrator(cache.root, database).migrate()
        assert result.total_migrated == 1

    return add


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The file that entries are about, unless they say otherwise."""
    file = tmp_path / "lib.rs"
    file.write_bytes(CONTENT)
    return file


DIGITS = "7" * 10_000
ODD_RESULT = (
    '{"float": 1.0, "spelled": [1E2, 1e+2, 100.00, -0, -0.0, 1E400, 0.1e-7, 12345678901234567890],'
    f' "long": {DIGITS}, "again": 1, "again": 2, "a": "\\u00e9\\/\\ud83d\\ude00",'
    ' "é😀": "two  spaces : , { [", "nothing": [[], {}, null, true, false]}'
)
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s"{}\[\]:,]+|[{}\[\]:,]')


def with_result(result: str) -> bytes:
    """An entry's file with that result, token for token."""
    text = json.dumps(fields_of(result="RESULT"), indent=2)
    return text.replace('"RESULT"', result).encode()


# Hits


def test_hit_prints_the_result_and_nothing_else(get: Get, fill: Fill, source: Path) -> None:
    fill(result={"summary": "naïve\n", "parts": [1, {"a": None}]})
    ran = get("--type", "docs", "--content", source)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        '{\n  "summary": "naïve\\n",\n  "parts": [\n    1,\n    {\n      "a": null\n    }\n  ]\n}\n'
    )


def test_hit_keeps_every_token_of_the_result(get: Get, fill: Fill, source: Path) -> None:
    fill(text=with_result(ODD_RESULT))
    ran = get("--type", "docs", "--content", source)
    assert ran.code == 0
    assert TOKEN.findall(ran.out) == TOKEN.findall(ODD_RESULT)


def test_json_hit_keeps_every_token_of_the_result_too(get: Get, fill: Fill, source: Path) -> None:
    fill(text=with_result(ODD_RESULT))
    ran = get("--type", "docs", "--content", source, "--json")
    assert (ran.code, ran.err) == (0, "")
    (line,) = ran.out.splitlines()
    _, found, result = line.partition('"result":')
    assert found
    assert TOKEN.findall(result.strip().removesuffix("}")) == TOKEN.findall(ODD_RESULT)


def test_json_hit_says_where_the_result_is_from(get: Get, fill: Fill, source: Path) -> None:
    fill(path="src/naïve.rs", repository="/home/dev/näher", tokens_used=None, result=[1])
    ran = get("--type", "docs", "--content", source, "--json")
    file_hash = sha256(CONTENT).hexdigest()
    assert ran.object == {
        "message_type": "summary",
        "hit": True,
        "repository": "/home/dev/näher",
        "cache_type": "docs",
        "file_path": "src/naïve.rs",
        "file_hash": file_hash,
        "cache_key": sha256(f"{file_hash}:grok-beta:{NEW_PROMPT}:1".encode()).hexdigest(),
        "provider": "xai",
        "model": "grok-beta",
        "prompt_hash": NEW_PROMPT,
        "schema_version": 1,
        "analyzed_at": "2026-02-04T03:13:54.878744252+00:00",
        "tokens_used": None,
        "file_size": len(CONTENT),
        "result": [1],
    }


def test_content_can_come_from_standard_input(get: Get, fill: Fill) -> None:
    fill(content=b"\xff\r\n\0", result="bytes as they are")
    ran = get("-t", "docs", "-c", "-", stdin=b"\xff\r\n\0")
    assert (ran.code, ran.out) == (0, '"bytes as they are"\n')
    assert get("-t", "docs", "-c", "-", stdin=b"\xff\n\0").code == 1


def test_empty_file_is_content_like_any_other(get: Get, fill: Fill) -> None:
    fill(content=b"", result={})
    ran = get("-t", "docs", "-c", os.devnull)
    assert (ran.code, ran.out) == (0, "{}\n")


def test_place_of_the_file_does_not_matter(get: Get, fill: Fill, tmp_path: Path) -> None:
    fill(path="src/lib.rs")
    moved = tmp_path / "-odd name\n.txt"
    moved.write_bytes(CONTENT)
    assert get("-t", "docs", f"--content={moved}").code == 0


def test_lookup_changes_nothing_on_disk(get: Get, fill: Fill, source: Path, tmp_path: Path) -> None:
    fill()
    before = snapshot(tmp_path)
    assert get("-t", "docs", "-c", source).code == 0
    assert get("-t", "todos", "-c", source).code == 1
    assert snapshot(tmp_path) == before


def test_newest_of_several_answers(get: Get, fill: Fill, source: Path) -> None:
    for day in (3, 9, 5):
        fill(analyzed_at=f"2026-03-0{day}T00:00:00+00:00", result=day)
    assert get("-t", "docs", "-c", source).out == "9\n"


def test_type_model_prompt_and_version_choose(get: Get, fill: Fill, source: Path) -> None:
    fill(cache_type="refactor", result="another type")
    fill(model="grok-2", analyzed_at="2026-05-01T00:00:00+00:00", result="another model")
    fill(prompt_hash="0" * 16, analyzed_at="2026-04-01T00:00:00+00:00", result="another prompt")
    fill(schema_version=2, analyzed_at="2026-03-01T00:00:00+00:00", result="another version")
    fill(result="plain")
    for wanted, options in {
        "another type": ["--type", "refactor"],
        "another model": ["-t", "docs"],
        "another prompt": ["-t", "docs", "--model", "grok-beta"],
        "another version": ["-t", "docs", "-m", "grok-beta", "--prompt-hash", NEW_PROMPT],
        "plain": ["-t", "docs", "-m", "grok-beta", "--prompt-hash", NEW_PROMPT,
                  "--schema-version", "1"],
    }.items():  # fmt: skip
        ran = get("--content", source, *options)
        assert (ran.code, ran.out) == (0, f'"{wanted}"\n')


def test_old_entry_answers_where_no_exact_one_does(get: Get, fill: Fill, source: Path) -> None:
    asked = ("-t", "docs", "-c", source, "--prompt-hash", NEW_PROMPT, "--schema-version", "1")
    fill(old=True, analyzed_at="2026-06-01T00:00:00+00:00", result="old")
    assert get(*asked).out == '"old"\n'
    refused = get(*asked, "--exact")
    assert (refused.code, refused.out) == (1, "")
    assert "other prompt hash" in refused.err
    fill(analyzed_at="2026-02-05T00:00:00+00:00", result="exact")
    assert get(*asked).out == '"exact"\n'
    assert get(*asked, "--exact").out == '"exact"\n'


def test_old_entry_of_another_model_is_no_answer(get: Get, fill: Fill, source: Path) -> None:
    fill(old=True, model="grok-2")
    assert get("-t", "docs", "-c", source, "--model", "grok-beta").code == 1


def test_exact_without_a_prompt_refuses_old_entries_as_it_says(
    get: Get, fill: Fill, source: Path
) -> None:
    fill(old=True)
    assert get("-t", "docs", "-c", source).code == 0
    assert get("-t", "docs", "-c", source, "--exact").code == 1


@pytest.mark.shared
def test_real_file_hits_both_entries_that_were_made_from_it(get: Get, database: Path) -> None:
    repository = SHARED / "real-2026-02" / "repo"
    CacheMigrator(repository, database).migrate()
    for cache_type in ("docs", "refactor"):
        ran = get("-t", cache_type, "-c", repository / "src" / "error.rs", "-m", "grok-beta",
                  "--prompt-hash", NEW_PROMPT)  # fmt: skip
        name = f"cache/{cache_type}/src_error_rs.json"
        paid_for = json.loads((repository / ".rustassistant" / name).read_bytes())
        assert (ran.code, json.loads(ran.out)) == (0, paid_for["result"])


# Misses


def test_miss_says_what_was_looked_for(get: Get, fill: Fill, tmp_path: Path) -> None:
    fill()
    changed = tmp_path / "changed.rs"
    changed.write_bytes(CONTENT + b"\n")
    ran = get("-t", "docs", "-c", changed, "-m", "grok-2", "--prompt-hash", "abc",
              "--schema-version", "7")  # fmt: skip
    assert (ran.code, ran.out) == (1, "")
    for part in ("miss", "'docs'", sha256(CONTENT + b"\n").hexdigest(), "model grok-2",
                 "prompt hash abc", "schema version 7"):  # fmt: skip
        assert part in ran.err
    assert "was made from this content" in ran.err
    assert "Hint: the file may have changed" in ran.err


@pytest.mark.parametrize(
    ("options", "differs"),
    [
        (["-t", "todos"], "other type"),
        (["-t", "docs", "-m", "grok-2"], "other model"),
        (["-t", "docs", "--prompt-hash", "0" * 16], "other prompt hash"),
        (["-t", "docs", "--schema-version", "2"], "other schema version"),
        (["-t", "todos", "-m", "grok-2"], "other type and model"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_miss_names_the_part_in_which_the_nearest_entry_differs(
    get: Get, fill: Fill, source: Path, options: list[str], differs: str
) -> None:
    fill()
    ran = get("-c", source, *options)
    assert (ran.code, ran.out) == (1, "")
    assert "1 entry was made from it:" in ran.err
    (nearest,) = [line for line in ran.err.splitlines() if line.startswith("  - ")]
    assert f"docs by grok-beta, prompt {NEW_PROMPT}, 2026-02-04T03:13:54" in nearest
    assert nearest.endswith(differs)


def test_nearest_of_many_come_first(get: Get, fill: Fill, source: Path) -> None:
    for number in range(7):
        fill(cache_type="todos", path=f"{number}.rs", model="gpt", prompt_hash="default")
    fill(path="near.rs", prompt_hash="1" * 16)
    ran = get("-t", "docs", "-c", source, "-m", "grok-beta", "--prompt-hash", NEW_PROMPT)
    listed = [line for line in ran.err.splitlines() if line.startswith("  - ")]
    assert "8 entries were made from it:" in ran.err
    assert len(listed) == 5
    assert listed[0].endswith("other prompt hash")
    assert listed[1].endswith("other type and model and prompt hash")


def test_json_miss_has_the_same_as_data(get: Get, fill: Fill, source: Path) -> None:
    fill(prompt_hash="1" * 16)
    options = ["-m", "grok-beta", "--prompt-hash", NEW_PROMPT, "--exact", "--json"]
    ran = get("-t", "docs", "-c", source, *options)
    assert ran.code == 1
    assert (ran.object["message_type"], ran.object["hit"]) == ("summary", False)
    file_hash = sha256(CONTENT).hexdigest()
    assert ran.object["looked_for"] == {
        "cache_type": "docs",
        "file_hash": file_hash,
        "model": "grok-beta",
        "prompt_hash": NEW_PROMPT,
        "schema_version": None,
        "exact": True,
    }
    (nearest,) = ran.object["nearest"]
    assert nearest["differs"] == ["prompt hash"]
    assert nearest["file_hash"] == file_hash
    assert nearest["prompt_hash"] == "1" * 16
    assert nearest["repository"] == "/home/dev/project"


def test_json_miss_says_times_as_a_hit_does(get: Get, fill: Fill, source: Path) -> None:
    fill()
    ran = get("-t", "todos", "-c", source, "--json")
    assert ran.object["nearest"][0]["analyzed_at"] == "2026-02-04T03:13:54.878744252+00:00"


def test_miss_in_an_empty_database_is_a_miss(get: Get, database: Path, source: Path) -> None:
    CacheMigrator(Cache(source.parent / "repos").root, database).migrate()
    ran = get("-t", "docs", "-c", source)
    assert ran.code == 1
    assert f"Nothing in {database} was made from this content" in ran.err


def test_text_that_was_asked_for_is_shown_on_one_line(get: Get, fill: Fill, source: Path) -> None:
    fill(model="gr\x1bok", prompt_hash="\x1b[2J")
    ran = get("-t", "do\ncs", "-c", source, "-m", "new\nline", "--prompt-hash", "a\x1b[1m")
    assert ran.code == 1
    assert "\x1b" not in ran.err
    assert "new\\nline" in ran.err
    assert len([line for line in ran.err.splitlines() if line.startswith("✗ miss")]) == 1


# What stops it


@pytest.mark.parametrize("what", ["absent", "a directory"])
def test_content_that_cannot_be_read_is_an_error(
    get: Get, fill: Fill, tmp_path: Path, what: str
) -> None:
    fill()
    content = tmp_path / "absent" if what == "absent" else tmp_path
    ran = get("-t", "docs", "-c", content)
    assert (ran.code, ran.out) == (10, "")
    assert f"{content} cannot be read" in ran.err
    assert "Hint: " in ran.err


def test_missing_database_is_an_error_and_is_not_made(
    get: Get, database: Path, source: Path
) -> None:
    for option in ([], ["--json"]):
        ran = get("-t", "docs", "-c", source, *option)
        assert ran.code == 10
        assert f"the database {database} does not exist" in ran.err
        assert "Hint: Make it with `rustassistant cache migrate`" in ran.err
    assert (ran.object["message_type"], ran.object["exit_code"]) == ("error", 10)
    assert not database.exists()


def test_database_of_another_program_is_an_error(get: Get, database: Path, source: Path) -> None:
    with closing(apsw.Connection(str(database))) as opened:
        opened.execute("CREATE TABLE mine (x)")
    before = database.read_bytes()
    ran = get("-t", "docs", "-c", source)
    assert (ran.code, ran.out) == (1, "")
    assert "another program" in ran.err
    assert database.read_bytes() == before


@pytest.mark.parametrize("as_json", [False, True])
def test_damaged_entry_is_an_error_not_a_miss_nor_an_answer(
    get: Get, fill: Fill, database: Path, source: Path, as_json: bool
) -> None:
    fill()
    with closing(apsw.Connection(str(database))) as opened:
        opened.execute("UPDATE entries SET result_digest = zeroblob(16)")
    ran = get("-t", "docs", "-c", source, *(["--json"] if as_json else []))
    assert ran.code == 4
    assert "(docs of src/lib.rs in /home/dev/project)" in ran.err
    assert "miss" not in ran.err
    assert "Hint: " in ran.err
    if as_json:
        assert (ran.object["message_type"], ran.object["error"]) == ("error", "DamagedError")
    else:
        assert ran.out == ""


def test_type_and_content_are_required(get: Get, fill: Fill, source: Path) -> None:
    fill()
    for arguments in (["-t", "docs"], ["-c", str(source)], ["-t", "docs", "-c", "x", "extra"]):
        ran = get(*arguments)
        assert (ran.code, ran.out) == (2, "")
        assert "-h" in ran.err


# Where things lie


@pytest.mark.parametrize("home", ["absolute", "~/.rustassistant"])
def test_database_lies_in_the_home_unless_named(
    get: Get, source: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    if home.startswith("~"):
        monkeypatch.setenv("RUSTASSISTANT_HOME", home)
    cache = Cache(source.parent / "repos")
    cache.add(result="of the home")
    CacheMigrator(cache.root, own_home / "cache.db").migrate()
    assert get("-t", "docs", "-c", source).out == '"of the home"\n'
    assert get("-t", "docs", "-c", source, "-d", source.parent / "absent.db").code == 10


def test_tilde_that_no_shell_expanded_is_the_home_directory(
    get: Get, fill: Fill, database: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(result="found")
    monkeypatch.setenv("HOME", str(database.parent))
    monkeypatch.setenv("RUSTASSISTANT_DESTINATION", "~/cache.db")
    assert get("-t", "docs", "-c", source).out == '"found"\n'
    assert get("-t", "docs", "--content=~/lib.rs").out == '"found"\n'


def test_empty_database_path_is_wrong_usage(get: Get, fill: Fill, source: Path) -> None:
    fill()
    ran = get("-t", "docs", "-c", source, "--destination", "")
    assert (ran.code, ran.out) == (2, "")
    assert "empty" in ran.err


def test_every_option_can_come_from_the_environment(
    get: Get, fill: Fill, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(result="plain")
    fill(model="a", prompt_hash="b", schema_version=3, result="chosen")
    for name, value in {
        "TYPE": "docs",
        "CONTENT": str(source),
        "MODEL": "a",
        "PROMPT_HASH": "b",
        "SCHEMA_VERSION": "3",
        "EXACT": "1",
    }.items():
        monkeypatch.setenv(f"RUSTASSISTANT_{name}", value)
    ran = get()
    assert (ran.code, ran.out) == (0, '"chosen"\n')


def test_real_command_prints_bytes_whatever_the_screen(fill: Fill, source: Path) -> None:
    fill(result="naïve 😀")
    done = subprocess.run(
        [sys.executable, "-m", "rustassistant", "cache", "get", "-t", "docs", "-c", "-"],
        input=source.read_bytes(),
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0
    assert json.loads(done.stdout) == "naïve 😀"
    assert done.stderr == b""


def test_name_that_is_not_utf_8_is_told_as_its_bytes(get: Get, database: Path) -> None:
    ran = get("--type", "docs", "--content", os.fsdecode(b"nonutf\xff"))
    assert ran.code == 10
    assert "nonutf\\xff cannot be read" in ran.err
