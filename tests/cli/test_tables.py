from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from rustassistant.cli.tables import Column, Gives, bar, say_table, shortened

COLUMNS = (
    Column("ID", is_number=True),
    Column("file", gives=Gives.START, least=8),
    Column("model", gives=Gives.END, least=6, goes=1),
    Column("hits", is_number=True, goes=2),
)
ROWS = [("1", "src/" * 10 + "a.rs", "a-long-model-name", "7"), ("20", "b.rs", "m", "1,000")]


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_nothing_is_cut_off_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    say_table(COLUMNS, ROWS)
    head, first, second = lines(capsys)
    assert first.split() == list(ROWS[0])
    assert head.index("model") == first.index("a-long") == second.index("m ")
    assert head.endswith("hits")
    assert second.endswith("1,000")


@pytest.mark.parametrize("width", range(20, 90))
def test_table_is_never_wider_than_the_screen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    say_table(COLUMNS, ROWS, indent="  ")
    found = lines(capsys)
    assert max(map(len, found)) <= width
    assert "a.rs" in found[1]
    assert found[0].split()[0] == "ID"


def test_columns_that_matter_least_go_first(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = []
    for width in (40, 25, 15):
        monkeypatch.setenv("COLUMNS", str(width))
        say_table(COLUMNS, ROWS)
        heads.append(lines(capsys)[0].split())
    assert heads == [["ID", "file", "model", "hits"], ["ID", "file", "model"], ["ID", "file"]]


@given(st.text(), st.integers(2, 40), st.sampled_from([Gives.START, Gives.END]))
def test_shortened_text_fits(text: str, width: int, gives: Gives) -> None:
    found = shortened(text, width, gives)
    assert cell_len(found) <= width
    assert found == text or "…" in found


def test_bar_shows_what_is_not_nothing() -> None:
    assert [bar(part, 10, 4) for part in (0, 0.001, 5, 6.25, 10, 99)] == [
        "", "▏", "██", "██▌", "████", "████"
    ]  # fmt: skip
    assert bar(1, 0, 4) == ""
