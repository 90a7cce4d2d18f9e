from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, Future
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rustassistant.errors import RustAssistantError, WorkerDiedError
from rustassistant.levels import check_level
from rustassistant.transfer import workers
from rustassistant.transfer.workers import InlineExecutor, WorkerPool
from support import Cache

LIMIT = 60
"""Seconds after which what should have come long ago is taken for lost: a hang must fail."""

KILL_YOURSELF = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
KILL_YOURSELF_NOW = "__import__('os').kill(__import__('os').getpid(), 9)"

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="finds processes by /proc"
)


def children() -> set[int]:
    """Processes whose parent is this one, zombies included."""
    found = set()
    for directory in Path("/proc").iterdir():
        try:
            status = (directory / "stat").read_text() if directory.name.isdigit() else ""
        except OSError:
            continue  # it ended meanwhile
        if status and int(status.rpartition(")")[2].split()[1]) == os.getpid():
            found.add(int(directory.name))
    return found


def python(script: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        **options,
    )


def importable(directory: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> Any:
    """A module made for a test, importable here and by whoever is given our path."""
    (directory / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(directory)
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


# --- Calls and answers.


def test_each_call_gets_its_own_answer() -> None:
    with WorkerPool(2) as pool:
        futures = [pool.submit(pow, 2, number) for number in range(100)]
        assert [future.result(LIMIT) for future in futures] == [2**n for n in range(100)]


def test_calls_run_in_other_processes() -> None:
    with WorkerPool(1) as pool:
        first, second = (pool.submit(os.getpid).result(LIMIT) for _ in range(2))
    assert first == second != os.getpid()


def test_workers_start_as_they_are_needed() -> None:
    before = children()
    with WorkerPool(3) as pool:
        assert not children() - before
        pids = {pool.submit(os.getpid).result(LIMIT) for _ in range(20)}
        assert children() - before == pids, "one is enough for call after call"
        assert len(pids) == 1


def test_workers_work_at_the_same_time(tmp_path: Path) -> None:
    # Each end of a FIFO waits in open() until the other is there too.
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with WorkerPool(2) as pool:
        reading = pool.submit(eval, f"open({str(fifo)!r}).read()")
        writing = pool.submit(eval, f"open({str(fifo)!r}, 'w').write('met')")
        assert (reading.result(LIMIT), writing.result(LIMIT)) == ("met", 3)


def test_large_requests_and_answers_arrive_whole() -> None:
    with WorkerPool(1) as pool:
        assert pool.submit(bytes.upper, b"a" * 5_000_000).result(LIMIT) == b"A" * 5_000_000


def test_keywords_are_passed_on() -> None:
    with WorkerPool(1) as pool:
        assert pool.submit(sorted, [1, 3, 2], reverse=True).result(LIMIT) == [3, 2, 1]


def test_workers_find_the_modules_that_their_parent_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importable(tmp_path, monkeypatch, "only_here", "def answer():\n    return 42\n")
    with WorkerPool(1) as pool:
        assert pool.submit(module.answer).result(LIMIT) == 42


def test_what_is_called_again_and_again_is_sent_to_a_worker_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importable(
        tmp_path,
        monkeypatch,
        "counted",
        "made = 0\n"
        "def make(name):\n"
        "    global made\n"
        "    made += 1\n"
        "    return Counted(name)\n"
        "class Counted:\n"
        "    def __init__(self, name):\n"
        "        self.name = name\n"
        "    def __reduce__(self):\n"
        "        return make, (self.name,)\n"
        "    def __call__(self):\n"
        "        return made\n",
    )
    first, second = module.Counted("first"), module.Counted("second")
    with WorkerPool(1) as pool:
        calls = [pool.submit(one) for one in (first, first, first, second, second, first)]
        assert [call.result(LIMIT) for call in calls] == [1, 1, 1, 2, 2, 3]


def test_calls_of_several_functions_are_not_mixed_up_where_workers_die() -> None:
    with WorkerPool(2) as pool:
        powers = [partial(pow, base) for base in (2, 3)]
        calls = []
        for number in range(40):
            if number % 10 == 5:
                pool.submit(exec, KILL_YOURSELF)
            calls.append(pool.submit(powers[number // 4 % 2], number))
        for number, call in enumerate(calls):
            assert call.result(LIMIT) == (2, 3)[number // 4 % 2] ** number


def test_what_cannot_be_called_in_a_worker_fails_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importable(tmp_path, monkeypatch, "gone", "def answer():\n    return 42\n")
    (tmp_path / "gone.py").unlink()
    with WorkerPool(1) as pool:
        assert pool.submit(abs, -1).result(LIMIT) == 1
        for _ in range(2):
            assert "gone" in str(pool.submit(module.answer).exception(LIMIT))
        assert pool.submit(abs, -1).result(LIMIT) == 1


# --- Exceptions.


def test_an_exception_comes_back_with_its_hint() -> None:
    with WorkerPool(1) as pool:
        future = pool.submit(check_level, 99)
        with pytest.raises(RustAssistantError, match="level 99 does not exist") as caught:
            future.result(LIMIT)
        assert "Choose one from 1 (fastest)" in caught.value.hint
        assert pool.submit(check_level, 3).result(LIMIT) == 3


def test_a_default_hint_comes_back_too() -> None:
    with WorkerPool(1) as pool:
        code = "from rustassistant.errors import OutOfSpaceError as E\nraise E('full')"
        error = pool.submit(exec, code).exception(LIMIT)
    assert isinstance(error, RustAssistantError)
    assert error.message == "full"
    assert "Free some space" in error.hint


def test_an_exception_that_cannot_be_rebuilt_does_not_hang_its_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pickled by its arguments, of which it has passed on but one.
    module = importable(
        tmp_path,
        monkeypatch,
        "odd_errors",
        "class OddError(Exception):\n"
        "    def __init__(self, place, reason):\n"
        "        super().__init__(f'{place} is odd: {reason}')\n"
        "def fail():\n"
        "    raise OddError('here', 'it happens')\n",
    )
    pool = WorkerPool(1)
    try:
        error = pool.submit(module.fail).exception(5)
        assert "here is odd: it happens" in str(error)
        assert pool.submit(abs, -1).result(5) == 1, "the pool goes on"
    finally:
        pool.shutdown(wait=False)


def test_an_answer_that_cannot_be_sent_says_so() -> None:
    with WorkerPool(1) as pool:
        error = pool.submit(eval, "lambda: 0").exception(LIMIT)
        assert error is not None
        assert "pickle" in str(error)
        assert not isinstance(error, WorkerDiedError), "no worker had to die for that"


# --- Workers that die.


def test_a_killed_worker_fails_its_own_call_and_no_other() -> None:
    with WorkerPool(2) as pool:
        calls = [pool.submit(abs, -number) for number in range(20)]
        doomed = pool.submit(exec, KILL_YOURSELF)
        later = [pool.submit(abs, -number) for number in range(20)]
        with pytest.raises(WorkerDiedError, match="killed by SIGKILL"):
            doomed.result(LIMIT)
        assert [call.result(LIMIT) for call in calls + later] == [*range(20), *range(20)]


def test_a_pool_outlives_all_its_workers_again_and_again() -> None:
    with WorkerPool(2) as pool:
        for _ in range(3):
            doomed = [pool.submit(exec, KILL_YOURSELF) for _ in range(2)]
            assert all(isinstance(one.exception(LIMIT), WorkerDiedError) for one in doomed)
        assert pool.submit(abs, -1).result(LIMIT) == 1


def test_a_worker_that_exits_tells_its_exit_code() -> None:
    with (
        WorkerPool(1) as pool,
        pytest.raises(WorkerDiedError, match=r"a worker died \(exit code 7\)"),
    ):
        pool.submit(exec, "import os; os._exit(7)").result(LIMIT)


def test_a_worker_killed_half_way_through_its_answer_is_a_dead_one() -> None:
    code = (
        "import os, struct\n"
        "for fd in range(3, 10):\n"
        "    try: os.write(fd, struct.pack('<Q', 1000) + b'x')\n"
        "    except OSError: pass\n"
        "os._exit(0)"
    )
    with WorkerPool(1) as pool:
        assert isinstance(pool.submit(exec, code).exception(LIMIT), WorkerDiedError)
        assert pool.submit(abs, -1).result(LIMIT) == 1


def test_a_worker_killed_while_idle_fails_the_next_call_and_no_more() -> None:
    # The request is larger than a pipe holds: it is half sent when nobody reads it any more.
    with WorkerPool(1) as pool:
        os.kill(pool.submit(os.getpid).result(LIMIT), signal.SIGKILL)
        assert isinstance(pool.submit(len, bytes(2_000_000)).exception(LIMIT), WorkerDiedError)
        assert pool.submit(len, bytes(2_000_000)).result(LIMIT) == 2_000_000


def test_a_worker_killed_by_a_signal_without_a_name_is_a_dead_one() -> None:
    # Of the real-time signals, only the first and the last have a name.
    number = signal.SIGRTMIN + 1
    pool = WorkerPool(1)
    try:
        error = pool.submit(exec, f"import os; os.kill(os.getpid(), {number})").exception(5)
        assert isinstance(error, WorkerDiedError)
        assert str(number) in error.message
    finally:
        pool.shutdown(wait=False)


def test_a_worker_killed_while_it_starts_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = f"""
import os, signal
try:
    os.mkdir({str(tmp_path / "second")!r})
except FileExistsError:
    pass
else:
    os.kill(os.getpid(), signal.SIGKILL)
"""
    monkeypatch.setattr(workers, "_MAIN", first + workers._MAIN)
    with WorkerPool(1) as pool:
        assert pool.submit(abs, -1).result(LIMIT) == 1


def test_workers_that_cannot_be_started_fail_the_call_instead_of_hanging_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    pool = WorkerPool(1)
    try:
        error = pool.submit(abs, -1).exception(5)
        assert isinstance(error, (RustAssistantError, OSError))
    finally:
        pool.shutdown(wait=False)


# --- Ending.


def test_shutting_down_leaves_no_process_behind() -> None:
    before = children()
    with WorkerPool(2) as pool:
        pids = {pool.submit(os.getpid).result(LIMIT) for _ in range(5)}
        assert pids <= children() - before
    assert not children() - before


def test_shutting_down_leaves_no_process_behind_where_workers_died() -> None:
    before = children()
    with WorkerPool(2) as pool:
        doomed = [pool.submit(exec, KILL_YOURSELF) for _ in range(4)]
    assert all(one.done() for one in doomed)
    assert not children() - before


def test_shutting_down_at_once_leaves_no_process_and_no_thread_behind() -> None:
    before, threads = children(), threading.active_count()
    WorkerPool(2).shutdown()
    assert not children() - before
    assert threading.active_count() == threads


def test_a_worker_begins_its_next_call_while_its_answer_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_start, start = threading.Event(), workers._start
    may_receive, receive = threading.Event(), workers._Worker.receive

    def start_late() -> Any:
        assert may_start.wait(LIMIT)
        return start()

    def late(worker: workers._Worker) -> tuple[bool, Any]:
        assert may_receive.wait(LIMIT)
        return receive(worker)

    monkeypatch.setattr(workers, "_start", start_late)
    monkeypatch.setattr(workers._Worker, "receive", late)
    begun = tmp_path / "begun"
    begin = f"import pathlib; pathlib.Path({str(begun)!r}).touch()"
    with WorkerPool(1) as pool:
        try:
            futures = [pool.submit(exec, code) for code in ("0", begin, "0")]
            may_start.set()
            patience = time.monotonic() + LIMIT
            while not begun.exists():
                assert time.monotonic() < patience
        finally:
            may_receive.set()
        assert [future.result(LIMIT) for future in futures] == [None] * 3


def test_calls_and_answers_larger_than_pipes_do_not_wait_for_each_other() -> None:
    large = [bytes([number]) * 5 * 2**20 for number in range(6)]
    with WorkerPool(1) as pool:
        futures = [pool.submit(bytes.upper, one) for one in large]
        assert [future.result(LIMIT) for future in futures] == large


def test_what_waited_for_a_worker_that_died_is_done_by_another() -> None:
    with WorkerPool(1) as pool:
        futures = [pool.submit(eval, code) for code in ("1", KILL_YOURSELF_NOW, "3", "4")]
        assert futures[0].result(LIMIT) == 1
        with pytest.raises(WorkerDiedError):
            futures[1].result(LIMIT)
        assert [future.result(LIMIT) for future in futures[2:]] == [3, 4]


def test_a_cancelled_call_that_waits_in_the_pipe_does_not_answer_for_another() -> None:
    with WorkerPool(1) as pool:
        futures = [pool.submit(eval, f"[__import__('time').sleep(.02), {n}]") for n in range(9)]
        cancelled = [number for number in range(1, 9, 2) if futures[number].cancel()]
        for number, future in enumerate(futures):
            if number in cancelled:
                assert future.cancelled()
            else:
                assert future.result(LIMIT) == [None, number]
    assert cancelled


def test_shutting_down_finishes_what_is_queued() -> None:
    with WorkerPool(1) as pool:
        futures = [pool.submit(abs, -number) for number in range(30)]
    assert [future.result(0) for future in futures] == list(range(30))


def test_cancelling_finishes_only_what_is_under_way(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    pool = WorkerPool(1)
    running = pool.submit(eval, f"open({str(fifo)!r}).read()")
    queued: list[Future[int]] = [pool.submit(abs, -number) for number in range(5)]
    with fifo.open("w") as gate:  # opens when the worker is at it
        pool.shutdown(wait=False, cancel_futures=True)
        gate.write("done")
    pool.shutdown()
    assert running.result(LIMIT) == "done"
    for future in queued:
        with pytest.raises(CancelledError):
            future.result(0)


def test_a_call_after_shutting_down_is_refused_instead_of_waiting_for_ever() -> None:
    pool = WorkerPool(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="shut"):
        pool.submit(abs, -1)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path, busy: bool) -> None:
    # They inherit its standard error, which is at its end when the last of them has gone.
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, sys\n"
        "from rustassistant.transfer.workers import WorkerPool\n"
        "pool = WorkerPool(2)\n"
        "pids = [pool.submit(os.getpid).result() for _ in range(4)]\n"
        "calls = [pool.submit(eval, f'open({sys.argv[1]!r}).read()') for _ in sys.argv[1:]]\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen(
        [sys.executable, str(script), *([str(fifo)] if busy else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        if busy:
            with fifo.open("w"):  # a worker is at it, and finds its parent gone when it answers
                parent.kill()
                parent.wait()
        else:
            parent.kill()
        _, said = parent.communicate(timeout=LIMIT)
    assert said == b"", "and they go in silence"


# --- The world around.


def test_a_script_without_a_main_guard_runs_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    for number in range(20):
        cache.add(f"src/{number}.rs", content=b"%d" % number)
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "with open('ran', 'a') as ran:\n"
        "    ran.write('once\\n')\n"
        "from rustassistant import CacheMigrator\n"
        "result = CacheMigrator('repos', 'cache.db', jobs=2).migrate()\n"
        "assert CacheMigrator('repos', 'cache.db', jobs=2).verify()\n"
        "print(result.total_migrated)\n"
    )
    done = python(script, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "20\n", "")
    assert (tmp_path / "ran").read_text() == "once\n"


@pytest.mark.parametrize("module", ["msgspec", "struct", "queue", "rustassistant"])
def test_workers_run_nothing_that_lies_in_the_current_directory(
    tmp_path: Path, module: str
) -> None:
    # Somebody migrates the cache of a repository while standing in it.
    repository = tmp_path / "repository"
    cache = Cache(tmp_path / "repos")
    cache.add()
    repository.mkdir()
    (repository / f"{module}.py").write_text("open('executed', 'w').close()\nraise SystemExit(9)\n")
    script = tmp_path / "installed" / "script.py"
    script.parent.mkdir()
    script.write_text(
        "from rustassistant import CacheMigrator\n"
        "result = CacheMigrator('../repos', '../cache.db', jobs=2).migrate()\n"
        "print(result.total_migrated, result.failures)\n"
    )
    done = python(script, cwd=repository)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1 ()\n", "")
    assert not (repository / "executed").exists()


def test_what_a_worker_prints_goes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    noise = "import os; print('printed' * 10_000, flush=True); os.write(1, b'written')"
    with WorkerPool(1) as pool:
        for number in range(5):
            assert pool.submit(exec, noise).result(LIMIT) is None
            assert pool.submit(abs, -number).result(LIMIT) == number
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("printed") == 50_000
    assert err.count("written") == 5


def test_ctrl_c_does_not_end_a_worker() -> None:
    with WorkerPool(1) as pool:
        pid = pool.submit(os.getpid).result(LIMIT)
        pool.submit(exec, "import os, signal; os.kill(os.getpid(), signal.SIGINT)").result(LIMIT)
        assert pool.submit(os.getpid).result(LIMIT) == pid


def test_ctrl_c_does_not_end_a_worker_that_is_just_starting(tmp_path: Path) -> None:
    # A terminal sends it to the whole group of processes, at any moment.
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal\n"
        "from rustassistant.transfer import workers\n"
        "signal.signal(signal.SIGINT, lambda *_: None)\n"
        "start = workers._Worker.__init__\n"
        "def started(self):\n"
        "    start(self)\n"
        "    os.killpg(0, signal.SIGINT)\n"
        "workers._Worker.__init__ = started\n"
        "with workers.WorkerPool(2) as pool:\n"
        "    calls = [pool.submit(abs, -number) for number in range(10)]\n"
        "    print([call.exception() or call.result() for call in calls])\n"
    )
    done = python(script, start_new_session=True)
    assert (done.stdout, done.stderr) == (f"{list(range(10))}\n", "")


# --- In this process.


def test_the_inline_executor_has_run_a_call_when_it_returns() -> None:
    executor = InlineExecutor()
    ran: list[int] = []
    future = executor.submit(ran.append, 1)
    assert ran == [1]
    assert future.done()
    assert executor.submit(os.getpid).result() == os.getpid()


def test_the_inline_executor_carries_exceptions() -> None:
    error = InlineExecutor().submit(check_level, 99).exception()
    assert isinstance(error, RustAssistantError)
    assert error.hint


def test_the_inline_executor_lets_ctrl_c_through() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        InlineExecutor().submit(interrupt)
