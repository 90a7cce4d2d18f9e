from __future__ import annotations

from pathlib import Path

import pytest

from rustassistant.inspection.paths import ranked, suffixes


def test_path_in_the_repository_is_one_of_the_ends() -> None:
    assert suffixes("/home/me/project/src/a.rs") == [
        "/home/me/project/src/a.rs", "home/me/project/src/a.rs", "me/project/src/a.rs",
        "project/src/a.rs", "src/a.rs", "a.rs",
    ]  # fmt: skip


def test_links_to_the_repository_make_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    for named in ("link/a.rs", "real/a.rs", "./real/../link/a.rs"):
        assert ranked(named, str(tmp_path / "real"), "a.rs")[0]


def test_the_file_itself_comes_before_longer_ends() -> None:
    file = "/home/me/project/src/a.rs"
    order = [
        ("/home/me/project", "src/a.rs"),
        ("/home/me/project/", "src/a.rs"),
        ("/other", "project/src/a.rs"),
        ("/other", "src/a.rs"),
        ("/other", "a.rs"),
    ]
    ranks = [ranked(file, *place) for place in order]
    assert ranks[0] == ranks[1]
    assert ranks[1:] == sorted(ranks[1:], reverse=True)
    assert len(set(ranks)) == 4
