from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Protocol

import apsw
import pytest
import typer.main

from rustassistant.cli.app import app, run
from rustassistant.cli.configured import Commands
from rustassistant.cli.options import option, repeated
from rustassistant.configuration import load
from rustassistant.configuration.settings import PRICE_KEYS, SETTINGS
from support import Cache, snapshot

ROOT = Path(__file__).resolve().parents[2]


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return found


class Run(Protocol):
    def __call__(self, *arguments: str | Path) -> Ran: ...


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """The whole command line in this process, with its true exit code."""

    def call(*arguments: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["rustassistant", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as exited:
            run()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Ran(int(exited.value.code or 0), out, err)

    return call


@pytest.fixture
def write(own_home: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        own_home.mkdir(exist_ok=True)
        file = own_home / "config.toml"
        file.write_text(text)
        return file

    return write


Write = Callable[[str], Path]


def by_name(ran: Ran) -> dict[str, tuple[Any, str, int | None, str | None]]:
    return {
        one["name"]: (one["value"], one["origin"], one["line"], one["variable"])
        for one in ran.summary["settings"]
    }


class TestShowing:
    def test_every_setting_is_shown_with_value_and_origin(
        self, call: Run, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = write('[cache]\nlevel = 9\nmax_size = "500MiB"\nsource = ["/a", "/b"]\n')
        monkeypatch.setenv("RUSTASSISTANT_JOBS", "2")
        code, out, err = call("config")
        assert (code, err) == (0, "")
        assert out.startswith(f"Configuration file: {file}\n")
        shown = {words[0]: words[1:] for words in map(str.split, out.splitlines()) if words}
        assert shown["level"] == ["9", "config.toml,", "line", "2"]
        assert shown["max_size"] == ["500MiB", "config.toml,", "line", "3"]
        assert shown["source"] == ["/a,", "/b", "config.toml,", "line", "4"]
        assert shown["jobs"] == ["2", "RUSTASSISTANT_JOBS"]
        assert shown["monthly_usd"] == ["3.00", "default"]
        assert shown["on_conflict"] == ["newest", "default"]
        assert shown["destination"][-1] == "default"
        assert {setting.key for setting in SETTINGS} <= set(shown)

    def test_json_has_all_of_it(
        self, call: Run, write: Write, monkeypatch: pytest.MonkeyPatch, own_home: Path
    ) -> None:
        file = write(
            "[budget]\nmonthly_usd = 0.1\n[prices.'Ω \"x\"']\ninput_usd_per_million = 1.5\n"
            "output_usd_per_million = 2\n"
        )
        monkeypatch.setenv("RUSTASSISTANT_VERIFY", "yes")
        ran = call("config", "--json")
        assert (ran.code, ran.err) == (0, "")
        summary = ran.summary
        assert summary["message_type"] == "summary"
        assert (summary["home"], summary["file"]) == (str(own_home), str(file))
        assert summary["file_exists"] is True
        found = by_name(ran)
        assert found["budget.monthly_usd"] == (0.1, "config.toml", 2, None)
        assert found["cache.verify"] == (True, "environment", None, "RUSTASSISTANT_VERIFY")
        assert found["cache.source"][0] == [str(own_home / "cache" / "repos")]
        assert found["cache.max_size"] == (None, "default", None, None)
        assert found['prices."Ω "x"".output_usd_per_million'] == (2.0, "config.toml", 5, None)
        assert {setting.name for setting in SETTINGS} <= set(found)

    def test_without_a_file_that_is_said_and_nothing_is_made(
        self, call: Run, own_home: Path
    ) -> None:
        ran = call("config")
        assert ran.code == 0
        assert "There is none" in ran.out
        assert by_name(call("config", "--json"))["cache.level"] == (3, "default", None, None)
        assert call("config", "--json").summary["file_exists"] is False
        assert not own_home.exists()

    def test_all_that_is_wrong_is_listed_and_nothing_else(self, call: Run, write: Write) -> None:
        file = write("[cache]\nlevl = 3\njobs = 0\n")
        code, out, err = call("config")
        assert (code, out) == (2, "")
        first, second, _ = err.splitlines()
        assert first.startswith(f"✗ {file}:2: unknown key levl in [cache] (did you mean level?)")
        assert second.startswith(f"✗ {file}:3: jobs must be")
        code, out, _ = call("config", "--json")
        said = json.loads(out)
        assert (code, said["message_type"], said["exit_code"]) == (2, "error", 2)
        assert [problem.split(": ")[0] for problem in said["problems"]] == [
            f"{file}:2", f"{file}:3"
        ]  # fmt: skip

    def test_control_characters_do_not_reach_the_screen(self, call: Run, write: Write) -> None:
        write('[cache]\nsource = "/a\\u001b[31m"\n')
        assert "\x1b" not in call("config").out
        write('["\\u001b[31m"]\n')
        assert "\x1b" not in call("config").err

    def test_variable_that_nothing_reads_is_pointed_out(
        self, call: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RUSTASSISTANT_LEVLE", "9")
        monkeypatch.setenv("RUSTASSISTANT_SOURCE", "/a")
        monkeypatch.setenv("RUSTASSISTANT_MODEL", "grok")
        code, _, err = call("config")
        assert code == 0
        assert err == (
            "⚠ RUSTASSISTANT_LEVLE is set, but nothing reads it "
            "(did you mean RUSTASSISTANT_LEVEL?)\n"
        )
        assert call("config", "--json").summary["unknown_variables"] == ["RUSTASSISTANT_LEVLE"]

    def test_init_writes_an_example_once(self, call: Run, own_home: Path) -> None:
        ran = call("config", "--init")
        assert ran.code == 0
        assert str(own_home / "config.toml") in ran.out
        before = snapshot(own_home)
        again = call("config", "--init")
        assert again.code == 2
        assert "is there already" in again.err
        assert snapshot(own_home) == before
        assert call("config").code == 0

    def test_init_leaves_a_wrong_file_alone(self, call: Run, write: Write) -> None:
        file = write("nonsense")
        ran = call("config", "--init", "--json")
        assert ran.code == 2
        assert "is there already" in ran.summary["message"]
        assert file.read_text() == "nonsense"


class TestOptions:
    @pytest.fixture
    def cache(self, tmp_path: Path) -> Cache:
        cache = Cache(tmp_path / "repos")
        cache.add()
        return cache

    def test_migration_is_done_as_the_file_says(
        self, call: Run, write: Write, cache: Cache, tmp_path: Path
    ) -> None:
        write(
            f'[cache]\nsource = "{cache.root}"\ndestination = "{tmp_path}/made.db"\n'
            "backup = true\nverify = true\njobs = 1\nlevel = 19\n"
        )
        ran = call("cache", "migrate", "--json")
        assert ran.code == 0, ran.err
        assert ran.summary["source"] == str(cache.root)
        assert ran.summary["destination"] == str(tmp_path / "made.db")
        assert ran.summary["verified"] is True
        assert (tmp_path / "repos.backup").is_dir()

    def test_option_outweighs_variable_outweighs_file_outweighs_default(
        self, call: Run, write: Write, own_home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def source() -> str:
            ran = call("cache", "migrate", "--json", *given)
            assert ran.code == 10
            return str(re.findall(r"source (\S+)", ran.summary["message"])[0])

        given: list[str] = []
        assert source() == str(own_home / "cache" / "repos")
        write('cache.source = ["/nowhere/file"]')
        assert source() == "/nowhere/file"
        monkeypatch.setenv("RUSTASSISTANT_SOURCE", "/nowhere/variable")
        assert source() == "/nowhere/variable"
        given = ["--source", "/nowhere/option"]
        assert source() == "/nowhere/option"

    def test_switch_of_the_file_is_turned_off_by_its_variable(
        self,
        call: Run,
        write: Write,
        cache: Cache,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        write(f'[cache]\nsource = "{cache.root}"\nbackup = true\n')
        monkeypatch.setenv("RUSTASSISTANT_BACKUP", "0")
        assert call("cache", "migrate").code == 0
        assert not (tmp_path / "repos.backup").exists()

    def test_database_of_the_file_is_where_results_are_looked_up(
        self, call: Run, write: Write, cache: Cache, tmp_path: Path
    ) -> None:
        database = tmp_path / "made.db"
        assert call("cache", "migrate", "-s", cache.root, "-d", database).code == 0
        write(f'cache.destination = "{database}"')
        (tmp_path / "content").write_bytes(b"fn main() {}\n")
        ran = call("cache", "get", "--type", "docs", "--content", tmp_path / "content")
        assert ran.code == 0, ran.err

    @pytest.mark.parametrize("arguments", [("cache", "migrate"), ("cache", "get", "-t", "x")])
    def test_wrong_file_stops_a_command_before_it_does_anything(
        self, call: Run, write: Write, own_home: Path, arguments: tuple[str, ...]
    ) -> None:
        file = write("[cache]\nlevl = 3\n")
        before = snapshot(own_home)
        ran = call(*arguments, "--content" if "get" in arguments else "--json", str(file))
        assert ran.code == 2
        assert f"{file}:2: unknown key levl" in ran.err
        assert snapshot(own_home) == before

    def test_wrong_file_is_told_as_json_where_that_is_wanted(self, call: Run, write: Write) -> None:
        file = write("[cache]\nlevl = 3\n")
        ran = call("cache", "migrate", "--json")
        assert (ran.code, ran.summary["message_type"]) == (2, "error")
        assert ran.summary["problems"][0].startswith(f"{file}:2: ")

    def test_help_and_version_work_beside_a_wrong_file(self, call: Run, write: Write) -> None:
        write("nonsense")
        for arguments in (["--help"], ["--version"], ["cache", "migrate", "--help"]):
            ran = call(*arguments)
            assert (ran.code, ran.err) == (0, "")

    def test_help_shows_the_default_not_the_file(self, call: Run, write: Write) -> None:
        before = call("cache", "migrate", "--help").out
        write("cache.level = 9")
        assert call("cache", "migrate", "--help").out == before

    def test_list_where_one_is_taken_is_refused(
        self, write: Write, capfd: pytest.CaptureFixture[str]
    ) -> None:
        own = Commands()

        def command(source: Annotated[str | None, option("--source", help="")] = None) -> None:
            print(source)

        own.command()(command)
        file = write('[cache]\nsource = ["/a", "/b"]\n')
        with pytest.raises(SystemExit) as exited:
            own([])
        out, err = capfd.readouterr()
        assert (exited.value.code, out) == (2, "")
        assert f"{file}:2: source is a list of 2, but this command takes one" in err
        assert "--source" in err
        own(["--source", "/c"], standalone_mode=False)
        assert capfd.readouterr().out == "/c\n"

    def test_option_that_means_something_else_to_its_command_is_left_to_it(
        self, write: Write, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own = Commands()

        def command(
            source: Annotated[str, option("--source", help="")] = "own",
            level: Annotated[int, option("--level", help="")] = 3,
        ) -> None:
            print(source, level)

        own.command(own=["--source"])(command)
        write('[cache]\nsource = "/a"\nlevel = 9\n')
        own([], standalone_mode=False)
        assert capfd.readouterr().out == "own 9\n"
        monkeypatch.setenv("RUSTASSISTANT_SOURCE", "/e")
        own([], standalone_mode=False)
        assert capfd.readouterr().out == "/e 9\n"

    def test_configured_database_is_what_export_reads_and_never_what_it_writes(
        self, call: Run, write: Write, cache: Cache, tmp_path: Path
    ) -> None:
        database = tmp_path / "made.db"
        write(f'[cache]\nsource = "{cache.root}"\ndestination = "{database}"\n')
        assert call("cache", "export").code == 2
        assert not database.exists()
        assert call("cache", "migrate").code == 0
        ran = call("cache", "export", "--destination", tmp_path / "out")
        assert ran.code == 0, ran.err
        assert len(list((tmp_path / "out").rglob("*_rs.json"))) == 1

    def test_commands_without_the_option_do_not_mind_the_key(
        self, call: Run, write: Write, tmp_path: Path
    ) -> None:
        write('[cache]\nlevel = 9\non_conflict = "fail"\nmax_size = "1GiB"\n')
        ran = call("cache", "get", "-t", "docs", "-c", str(tmp_path / "x"))
        assert ran.code == 10

    def test_every_command_takes_its_options_from_the_file(self) -> None:
        """A group made with plain typer would silently ignore it."""
        pending = [typer.main.get_command(app)]
        while pending:
            command: Any = pending.pop()
            below = getattr(command, "commands", None)
            if below is None:
                assert type(command).__name__ == "ConfiguredCommand", command.name
            else:
                pending += below.values()

    def test_repeatable_options_switches_and_sizes_of_any_command(
        self,
        write: Write,
        capfd: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Commands to come need do nothing for it."""
        own = Commands()

        def command(
            sources: Annotated[list[str] | None, repeated("--source", "-s", help="")] = None,
            where: Annotated[str | None, option("--destination", "-d", help="")] = None,
            verify: Annotated[bool, option("--verify/--no-verify", help="")] = False,
            size: Annotated[str | None, option("--max-size", help="")] = None,
            level: Annotated[int, option("--level", help="")] = 3,
            rule: Annotated[str, option("--on-conflict", help="")] = "newest",
        ) -> None:
            print(json.dumps([sources, where, verify, size, level, rule]))

        own.command()(command)

        def ran(*arguments: str) -> Any:
            own(arguments, standalone_mode=False)
            return json.loads(capfd.readouterr().out)

        assert ran() == [None, None, False, None, 3, "newest"]
        write(
            '[cache]\nsource = ["/a", "/b"]\ndestination = "/d"\nverify = true\n'
            'max_size = "500MiB"\nlevel = 9\non_conflict = "keep-both"\n'
        )
        assert ran() == [["/a", "/b"], "/d", True, "500MiB", 9, "keep-both"]
        assert ran("-s", "/c", "--no-verify", "--level", "1") == [
            ["/c"], "/d", False, "500MiB", 1, "keep-both"
        ]  # fmt: skip
        monkeypatch.setenv("RUSTASSISTANT_SOURCE", "/e:/f g")
        assert ran()[0] == ["/e", "/f g"]
        assert ran("-s", "/c")[0] == ["/c"]
        monkeypatch.setenv("RUSTASSISTANT_SOURCE", "")
        write('cache.source = "/a"')
        assert ran() == [["/a"], None, False, None, 3, "newest"]


def test_help_reads_no_configuration_and_loads_nothing_for_it() -> None:
    """Starting must stay quick, and the modules below tell whether it was read."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv = ['rustassistant', 'config', '--help']\n"
         "from rustassistant.cli import main\n"
         "try: main()\nexcept SystemExit: pass\n"
         "print([name for name in sys.modules if name.startswith('rustassistant.configuration')])"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"


class TestPage:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")

    def test_every_key_stands_there_with_variable_and_default(self, own_home: Path) -> None:
        for setting in SETTINGS:
            section = self.page.partition(f"### [{setting.section}]\n")[2].partition("\n### ")[0]
            (row,) = re.findall(rf"^\| `{setting.key}` \|.*$", section, re.MULTILINE)
            assert f"`{setting.variable}`" in row
            default = setting.default(own_home)
            if isinstance(default, (bool, int)):
                assert f"| `{str(default).lower()}` |" in row
        prices = self.page.partition('### [prices."model"]\n')[2]
        for key in PRICE_KEYS:
            assert f"| `{key}` |" in prices

    def test_example_on_the_page_is_right_and_has_every_key(self, write: Write) -> None:
        ((example,),) = [re.findall(r"```toml\n(.*?)```", self.page, re.DOTALL)]
        write(example)
        found = load({})
        assert {origin.kind for origin in found.origins.values()} == {"config.toml"}
        (price,) = found.prices
        assert price.provider == "xai"

    def test_messages_on_the_page_are_those_that_are_printed(self, call: Run, write: Write) -> None:
        shown = re.findall(r"^✗ .*config\.toml(:\d+: .*)$", self.page, re.MULTILINE)
        assert len(shown) == 2
        file = write("[cache]\nlevl = 3\n\n\n\n\n[budget]\nmonthly_usd = -1\n")
        printed = call("config").err.splitlines()[:2]
        assert printed == [f"✗ {file}{message}" for message in shown]

    def test_published_prices_on_the_page_are_those_used(self) -> None:
        from rustassistant.pricing import Prices

        families = {"Grok": "grok-of-old", "GPT-4": "gpt-4-of-old", "GPT-3.5": "gpt-3.5-of-old",
                    "Claude Sonnet": "claude-0-sonnet", "Gemini Pro": "gemini-0-pro"}  # fmt: skip
        text = " ".join(self.page.split())
        for family, model in families.items():
            price = Prices().price("of-old", model)
            assert price
            assert price.source == "published"
            found = re.search(rf"{family} ([\d.]+) and ([\d.]+)", text)
            assert found
            stated = [float(one) for one in found.groups()]
            per_million = [price.input_usd_per_token, price.output_usd_per_token]
            assert stated == [float(one * 10**6) for one in per_million]


def test_database_stays_private_when_its_place_comes_from_the_file(
    call: Run, write: Write, tmp_path: Path
) -> None:
    cache = Cache(tmp_path / "repos")
    cache.add()
    write(f'[cache]\nsource = "{cache.root}"\ndestination = "made.db"\n')
    assert call("cache", "migrate").code == 0
    made = load({}).home + "/made.db"
    assert Path(made).stat().st_mode & 0o777 == 0o600
    connection = apsw.Connection(made)
    assert connection.execute("SELECT count(*) FROM cache_entries").fetchall() == [(1,)]
    connection.close()
