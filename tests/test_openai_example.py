from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from completion_server import completion_server

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "openai_client.py"


def test_second_run_pays_for_nothing_and_says_the_same(tmp_path: Path) -> None:
    for name, text in (("a.py", "one"), ("b.py", "three"), ("copy.py", "one")):
        (tmp_path / name).write_text(text)

    def run(url: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, EXAMPLE, "--model", "grok-4", "a.py", "b.py", "copy.py"],
            cwd=tmp_path,
            env={"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": url, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    with completion_server() as server:
        first, second = run(server.url), run(server.url)
        assert len(server.requests) == 2
        assert {request["model"] for request in server.requests} == {"grok-4"}
    expected = ['a.py {"letters": 3}', 'b.py {"letters": 5}', 'copy.py {"letters": 3}']
    assert first == [*expected, "1 hits, 2 misses, 123 tokens saved"]
    assert second == [*expected, "4 hits, 2 misses, 492 tokens saved"]
