from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

from rustassistant.transfer.calls import Call, Calls

LIMIT = 60


def call(kind: int) -> Call:
    return Call(Future(), b"", b"", kind)


def queue_of(workers: int, *kinds: int) -> tuple[Calls, list[Call]]:
    calls, some = Calls(workers), [call(kind) for kind in kinds]
    for one in some:
        calls.put(one)
    return calls, some


def test_calls_are_taken_in_their_order() -> None:
    calls, some = queue_of(2, 0, 0, 0)
    assert [calls.take(worker) for worker in (0, 1, 0)] == some


def test_each_worker_takes_the_first_of_its_kinds() -> None:
    calls, some = queue_of(2, 4, 6, 3, 5, 2)
    assert [some.index(taken) for _ in range(2) if (taken := calls.take(1))] == [2, 3]
    assert [some.index(taken) for _ in range(3) if (taken := calls.take(0))] == [0, 1, 4]


def test_a_worker_without_calls_of_its_kinds_takes_others() -> None:
    calls, some = queue_of(3, 0, 1, 0)
    assert [calls.take(2) for _ in range(3)] == some


def test_a_busy_worker_takes_a_further_one_only_where_there_are_enough_for_all() -> None:
    calls, some = queue_of(2, 0, 1)
    assert calls.take_further(1) is some[1]
    assert calls.take_further(1) is None
    assert calls.take(1) is some[0]


def test_who_waits_gets_what_comes_and_ends_when_nothing_will() -> None:
    calls, [first] = queue_of(1, 0)
    taken: list[Any] = []

    def take_all() -> None:
        while (one := calls.take(0)) is not None:
            taken.append(one)

    thread = threading.Thread(target=take_all, daemon=True)
    thread.start()
    late = call(7)
    calls.put(late)
    calls.close()
    thread.join(LIMIT)
    assert not thread.is_alive()
    assert taken == [first, late]


def test_what_is_cancelled_is_not_taken() -> None:
    calls, some = queue_of(1, 0, 1)
    calls.cancel()
    calls.close()
    assert calls.take(0) is None
    assert all(one.future.cancelled() for one in some)
