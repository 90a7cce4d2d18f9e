from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustassistant.configuration import OriginKind, PriceOverride, load
from rustassistant.configuration.example import example, write_example
from rustassistant.configuration.file import MAX_BYTES
from rustassistant.configuration.settings import SETTINGS, home
from rustassistant.errors import ConfigurationError, UsageError
from support import as_nobody

Write = Callable[[str | bytes], Path]


@pytest.fixture
def write(own_home: Path) -> Write:
    def write(content: str | bytes) -> Path:
        own_home.mkdir(exist_ok=True)
        file = own_home / "config.toml"
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    return write


def problems(environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        load(environ or {})
    assert raised.value.exit_code == 2
    assert str(raised.value).startswith(raised.value.problems[0])
    return list(raised.value.problems)


def test_without_file_and_environment_all_is_default(own_home: Path) -> None:
    found = load({})
    assert (found.file, found.file_exists) == (str(own_home / "config.toml"), False)
    assert found.cache.source == (str(own_home / "cache" / "repos"),)
    assert found.cache.destination == str(own_home / "cache.db")
    assert (found.cache.jobs, found.cache.level, found.cache.max_size) == (None, 3, None)
    assert found.budget.monthly_usd == 3
    assert [found.budget.warn_percent, found.budget.alert_percent] == [Decimal(75), Decimal(90)]
    assert found.cost.seconds_per_entry == 30
    assert found.prices == ()
    assert {origin.kind for origin in found.origins.values()} == {OriginKind.DEFAULT}
    assert not own_home.exists()


def test_file_outweighs_default_and_tells_its_line(write: Write) -> None:
    write('# mine\n[cache]\nlevel = 9\nmax_size = "1.5GiB"\n\n[budget]\nmonthly_usd = 0.1\n')
    found = load({})
    assert found.file_exists
    assert (found.cache.level, found.cache.max_size) == (9, 3 * 2**29)
    assert found.budget.monthly_usd == Decimal("0.1")
    assert found.origins["cache.level"] == (OriginKind.FILE, 3, None)
    assert found.origins["cache.max_size"] == (OriginKind.FILE, 4, None)
    assert found.origins["budget.monthly_usd"] == (OriginKind.FILE, 7, None)
    assert found.origins["cache.jobs"] == (OriginKind.DEFAULT, None, None)


GIVEN = st.fixed_dictionaries(
    {},
    optional={
        "level": st.integers(1, 22),
        "jobs": st.integers(1, 64),
        "verify": st.booleans(),
        "on_conflict": st.sampled_from(["newest", "oldest", "keep-both", "fail"]),
        "max_size": st.integers(1, 2**40),
    },
)


@given(in_file=GIVEN, in_environment=GIVEN)
def test_environment_outweighs_file_outweighs_default(
    tmp_path_factory: pytest.TempPathFactory,
    in_file: dict[str, Any],
    in_environment: dict[str, Any],
) -> None:
    directory = tmp_path_factory.mktemp("home")
    spelled = {key: f'"{one}"' if isinstance(one, str) else str(one).lower()
               for key, one in in_file.items()}  # fmt: skip
    lines = [f"{key} = {value}" for key, value in spelled.items()]
    (directory / "config.toml").write_text("\n".join(["[cache]", *lines]))
    environ = {f"RUSTASSISTANT_{key.upper()}": str(one) for key, one in in_environment.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUSTASSISTANT_HOME", str(directory))
        found, default = load(environ), load({}).origins
    for key in ("level", "jobs", "verify", "on_conflict", "max_size"):
        value, origin = getattr(found.cache, key), found.origins[f"cache.{key}"]
        if key in in_environment:
            assert (value, origin.kind) == (in_environment[key], OriginKind.ENVIRONMENT)
            assert origin.variable == f"RUSTASSISTANT_{key.upper()}"
        elif key in in_file:
            assert (value, origin.kind) == (in_file[key], OriginKind.FILE)
            assert origin.line == list(in_file).index(key) + 2
        else:
            assert origin.kind is default[f"cache.{key}"].kind is OriginKind.DEFAULT


def test_variables_of_other_sections_have_the_sections_name() -> None:
    found = load({"RUSTASSISTANT_BUDGET_MONTHLY_USD": "12.50",
                  "RUSTASSISTANT_COST_SECONDS_PER_ENTRY": "28.5",
                  "RUSTASSISTANT_MONTHLY_USD": "99"})  # fmt: skip
    assert found.budget.monthly_usd == Decimal("12.50")
    assert found.cost.seconds_per_entry == Decimal("28.5")


def test_empty_variable_counts_as_not_set(write: Write) -> None:
    write("cache.level = 9")
    assert load({"RUSTASSISTANT_LEVEL": ""}).cache.level == 9


def test_source_is_a_path_or_a_list_of_paths(write: Write) -> None:
    write('[cache]\nsource = "/one"')
    assert load({}).cache.source == ("/one",)
    write('[cache]\nsource = ["/one", "/two"]')
    assert load({}).cache.source == ("/one", "/two")


def test_paths_start_at_the_home_or_at_the_file(write: Write, own_home: Path) -> None:
    write('[cache]\nsource = ["~/a", "b/c", "h://x", "~no-such-user/y"]\ndestination = "../d.db"')
    cache = load({}).cache
    places = [Path.home() / "a", own_home / "b/c", "h://x", own_home / "~no-such-user/y"]
    assert cache.source == tuple(map(str, places))
    assert cache.destination == str(own_home / ".." / "d.db")


def test_money_is_exact(write: Write) -> None:
    write('[prices.m]\ninput_usd_per_million = 0.1\noutput_usd_per_million = 3\nprovider = "xai"')
    (price,) = load({}).prices
    assert price == PriceOverride(
        model="m",
        input_usd_per_million=Decimal("0.1"),
        output_usd_per_million=Decimal(3),
        provider="xai",
    )
    assert load({}).origins['prices."m".provider'].line == 4


@pytest.mark.parametrize(
    ("text", "line", "parts"),
    [
        ("[cache]\n\nlevl = 3", 3, ["unknown key levl in [cache]", "did you mean level?", "jobs"]),
        ('[cache]\n"max-size" = 3', 2, ["unknown key max-size", "did you mean max_size?"]),
        ("[cache]\nmonthly_usd = 3", 2, ["unknown key monthly_usd", "belongs in [budget]"]),
        ("[budgit]\nmonthly_usd = 3", 1, ["unknown section [budgit]", "did you mean budget?"]),
        ("\nlevel = 3", 2, ["level belongs in the section [cache]"]),
        ("x = {y = 1}", 1, ["unknown section [x]", "[cache], [budget], [cost], [prices]"]),
        ("cache = 3", 1, ["cache is a section, not 3"]),
        ("cache = [{level = 3}]", 1, ["cache is a section"]),
        ("[[cache]]\nlevel = 3", 1, ["cache is a section"]),
        ("[cache]\nlevel = 23", 2, ["level must be a whole number, 1-22, not 23"]),
        ("[cache]\nlevel = 0", 2, ["1-22, not 0"]),
        ('[cache]\nlevel = "3"', 2, ["1-22, not '3'"]),
        ("[cache]\nlevel = 3.0", 2, ["1-22, not 3.0"]),
        ("[cache]\nlevel = true", 2, ["1-22, not true"]),
        ("[cache]\njobs = 0", 2, ["jobs must be a whole number of 1 or more, not 0"]),
        ("[cache]\nlevel = {}", 2, ["1-22, not {}"]),
        ("[cache.level]\nx = 1", 1, ["1-22, not {'x': 1}"]),
        ("[cache]\nbackup = 1", 2, ["true or false, not 1"]),
        ('[cache]\nbackup = "yes"', 2, ["true or false, not 'yes'"]),
        ("[cache]\nsource = []", 2, ["a path, or a list of paths, not []"]),
        ('[cache]\nsource = ["a",\n 3]', 2, ["not ['a', 3]"]),
        ('[cache]\nsource = ""', 2, ["a path, or a list of paths, not ''"]),
        ('[cache]\ndestination = "a\\u0000b"', 2, ["destination must be a path"]),
        ('[cache]\ndestination = ["a"]', 2, ["destination must be a path, not ['a']"]),
        ('[cache]\non_conflict = "newst"', 2, ["newest, oldest, keep-both, fail", "newest?"]),
        ("[cache]\non_conflict = 1", 2, ["newest, oldest, keep-both, fail, not 1"]),
        ('[cache]\non_conflict = ["fail"]', 2, ["newest, oldest, keep-both, fail"]),
        ('[cache]\nmax_size = "5 apples"', 2, ["such as 500MiB", "not '5 apples'"]),
        ("[cache]\nmax_size = 0", 2, ["such as 500MiB", "not 0"]),
        ("[cache]\nmax_size = -5", 2, ["not -5"]),
        ("[budget]\nmonthly_usd = 0", 2, ["an amount in dollars of more than 0, not 0"]),
        ("[budget]\nmonthly_usd = -1.5", 2, ["not -1.5"]),
        ("[budget]\nmonthly_usd = nan", 2, ["not NaN"]),
        ("[budget]\nmonthly_usd = inf", 2, ["not Infinity"]),
        ("[budget]\nmonthly_usd = 1e99", 2, ["more than 0"]),
        ('[budget]\nmonthly_usd = "3"', 2, ["not '3'"]),
        ("[budget]\nwarn_percent = 101", 2, ["at most 100, not 101"]),
        ("[budget]\nwarn_percent = 95", 2, ["(95) must not be more than alert_percent (90)"]),
        ("[budget]\nwarn_percent = 5\nalert_percent = 4", 3, ["(5) must not be more than"]),
        ("[cost]\nseconds_per_entry = -1", 2, ["0-86400, not -1"]),
        ("[prices]\ngrok = 5", 2, ["a section of its model"]),
        ("[prices.m]\ninput_usd_per_million = 5", 1, ['[prices."m"] has no output_usd_per_mil']),
        ("[prices.m]\nprovider = 'x'\n[prices]", None, []),
        (
            "[prices.'a.b']\ninput_usd_per_million = 5\noutput_usd_per_million = -5",
            3,
            ["output_usd_per_million must be an amount in dollars, 0 or more, not -5"],
        ),
        (
            "prices.m = {input_usd_per_million = 5, output_usd_per_million = 5,\\\nx = 1}",
            None,
            [],
        ),
        (
            "[prices.m]\ninput_usd_per_million = 5\noutput_usd_per_million = 5\nprovidr = 'x'",
            4,
            ['unknown key providr in [prices."m"]', "did you mean provider?"],
        ),
        ("prices = 3", 1, ["prices is a section"]),
        ("[cache]\nlevel = 3\n\nlevel = 4", 4, ["not valid TOML"]),
        ("[cache]\nlevel = = 3", 2, ["not valid TOML: invalid value, at column 9"]),
        ("[cache]\nlevel =", 2, ["not valid TOML"]),
        ('[cache]\nsource = """\n\n', 2, ["not valid TOML", "at the end"]),
        (b"[cache]\n# \xff\xfe\n", 2, ["not valid UTF-8"]),
        ("[cache]\nlevel = " + "9" * 5000, None, []),
        ("[budget]\nmonthly_usd = 1e" + "9" * 30, None, []),
        ("a = " + "[" * 100_000, None, []),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_what_is_wrong_is_named_with_its_line(
    write: Write, text: str | bytes, line: int | None, parts: list[str]
) -> None:
    file = write(text)
    told = problems()
    assert told[0].startswith(f"{file}:{line}: " if line else str(file))
    for part in parts:
        assert part in told[0]
    assert len(told[0]) < 400


def test_all_problems_are_told_in_the_order_of_the_lines(write: Write) -> None:
    file = write("[cost]\nx = 1\n[budget]\nmonthly_usd = 0\n[cache]\nlevel = 0\n[prices]\na = 1\n")
    told = problems({"RUSTASSISTANT_JOBS": "many"})
    places = [problem.split(": ")[0] for problem in told[1:]]
    assert places == [f"{file}:{line}" for line in (2, 4, 6, 8)]
    assert told[0].startswith("RUSTASSISTANT_JOBS must be a whole number of 1 or more, not 'many'")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LEVEL", "23"),
        ("LEVEL", "3.5"),
        ("LEVEL", "٣"),
        ("LEVEL", "9" * 5000),
        ("BACKUP", "perhaps"),
        ("MAX_SIZE", "lots"),
        ("ON_CONFLICT", "NEWEST"),
        ("BUDGET_MONTHLY_USD", "three"),
        ("BUDGET_MONTHLY_USD", "nan"),
        ("BUDGET_WARN_PERCENT", "95"),
    ],
)
def test_wrong_variable_is_named(variable: str, value: str) -> None:
    (told,) = problems({f"RUSTASSISTANT_{variable}": value})
    assert told.startswith(f"RUSTASSISTANT_{variable}")
    assert len(told) < 300


def test_windows_line_ends_and_byte_order_mark_are_no_problem(write: Write) -> None:
    write(b"\xef\xbb\xbf[cache]\r\n\r\nlevel = 9\r\n")
    assert load({}).origins["cache.level"].line == 3
    file = write(b"\xef\xbb\xbf[cache]\r\n\r\nlevl = 9\r\n")
    assert problems()[0].startswith(f"{file}:3: ")


@pytest.mark.parametrize("kind", ["directory", "fifo", "loop", "dangling", "huge"])
def test_what_is_no_readable_file_is_an_error_not_a_default(own_home: Path, kind: str) -> None:
    own_home.mkdir()
    file = own_home / "config.toml"
    if kind == "directory":
        file.mkdir()
    elif kind == "fifo":
        os.mkfifo(file)
    elif kind == "loop":
        file.symlink_to(file)
    elif kind == "dangling":
        file.symlink_to("gone")
    else:
        with file.open("wb") as opened:
            opened.truncate(MAX_BYTES + 1)
    (told,) = problems()
    assert told.startswith(f"{file}: ")


def test_file_that_may_not_be_read_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with TemporaryDirectory() as directory:  # pytest's own are closed to others
        Path(directory).chmod(0o755)
        file = Path(directory, "config.toml")
        file.write_text("cache.level = 9")
        file.chmod(0)
        monkeypatch.setenv("RUSTASSISTANT_HOME", directory)

        def look() -> None:
            assert problems() == [f"{file}: can't be read: Permission denied"]

        as_nobody(look)


def test_link_to_the_file_is_followed(write: Write, own_home: Path, tmp_path: Path) -> None:
    kept = tmp_path / "dotfiles.toml"
    kept.write_text("cache.level = 9")
    own_home.mkdir()
    (own_home / "config.toml").symlink_to(kept)
    assert load({}).cache.level == 9


def test_home_that_is_a_file_has_no_configuration(own_home: Path) -> None:
    own_home.write_text("")
    assert not load({}).file_exists


def test_home_is_moved_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUSTASSISTANT_HOME", "~/elsewhere")
    assert home() == Path.home() / "elsewhere"
    monkeypatch.setenv("RUSTASSISTANT_HOME", "")
    assert home() == Path.home() / ".rustassistant"
    monkeypatch.setenv("RUSTASSISTANT_HOME", "~no-such-user/x")
    with pytest.raises(UsageError) as raised:
        home()
    assert "RUSTASSISTANT_HOME" in raised.value.hint


@given(st.text(max_size=200))
def test_any_text_is_settings_or_problems(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    directory = tmp_path_factory.mktemp("home")
    (directory / "config.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUSTASSISTANT_HOME", str(directory))
        with suppress(ConfigurationError):
            load({})


def uncommented() -> str:
    """The example with every setting in force: what starts with ``# word =`` or ``# [``."""
    lines = example().splitlines()
    return "\n".join(
        line.removeprefix("# ")
        if line.startswith("# [") or line.removeprefix("# ").partition(" = ")[1]
        else line
        for line in lines
    )


def test_example_sets_nothing_until_it_is_uncommented(write: Write) -> None:
    write(example())
    assert {origin.kind for origin in load({}).origins.values()} == {OriginKind.DEFAULT}


def test_uncommented_example_is_right_and_complete(write: Write) -> None:
    write(uncommented())
    found = load({})
    Path(found.file).unlink()
    default = load({})
    assert {origin.kind for origin in found.origins.values()} == {OriginKind.FILE}
    assert len(found.prices) == 1
    assert (found.budget, found.cost) == (default.budget, default.cost)
    assert found.cache.level == default.cache.level


def test_example_is_written_once_and_for_its_owner_alone(own_home: Path) -> None:
    file = write_example()
    assert file == own_home / "config.toml"
    assert file.read_text() == example()
    assert file.stat().st_mode & 0o777 == 0o600
    assert own_home.stat().st_mode & 0o777 == 0o700
    file.write_text("cache.level = 9")
    with pytest.raises(UsageError, match="is there already"):
        write_example()
    assert file.read_text() == "cache.level = 9"
    assert [path.name for path in own_home.iterdir()] == ["config.toml"]


def test_example_does_not_follow_a_link_to_nothing(own_home: Path, tmp_path: Path) -> None:
    own_home.mkdir()
    (own_home / "config.toml").symlink_to(tmp_path / "other")
    with pytest.raises(UsageError):
        write_example()
    assert not (tmp_path / "other").exists()


def test_example_that_can_not_be_written_is_an_error(own_home: Path) -> None:
    own_home.write_text("a file")
    with pytest.raises(UsageError, match="can't be written"):
        write_example()


def test_every_setting_says_what_it_does() -> None:
    for setting in SETTINGS:
        assert setting.about.endswith(".")
        assert setting.about in example()
