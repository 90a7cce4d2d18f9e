from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustassistant.errors import DamagedError, WorkerDiedError
from rustassistant.stores.base import Folder, Look, Partition, Repository, Stamps, Taker
from rustassistant.stores.outcomes import Failure, Problem
from rustassistant.transfer.flow import Answer, Submit, answers
from rustassistant.transfer.workers import InlineExecutor

FOLDER = Folder(Repository("/home/dev/project"), "docs", "local")
Item = Partition | Answer | Failure | Problem


@dataclass(frozen=True)
class Names:
    """A partition that is nothing but its names."""

    names: tuple[str, ...]
    folder: Folder = FOLDER
    label: str = "/cache/docs"

    def place(self, position: int) -> str:
        return f"{self.label}/{self.names[position]}"

    def look(self, known: Stamps) -> Look:
        raise NotImplementedError

    def read(self, taker: Taker | None = None) -> Iterator[Failure]:
        raise NotImplementedError

    def part(self, positions: Sequence[int]) -> Names:
        return Names(tuple(self.names[position] for position in positions))


def message(partition: Partition) -> bytes:
    return " ".join(partition.names).encode()


def submit_calling(read: Callable[[Partition], bytes]) -> Submit:
    return lambda executor, partition: executor.submit(read, partition)


def run(
    items: Sequence[Item], *, window: int = 3, read: Callable[[Partition], bytes] = message
) -> list[Answer | Failure | Problem]:
    executor = InlineExecutor()
    return list(answers(items, executor=executor, window=window, submit=submit_calling(read)))


class Ledger:
    """Counts what is under way: handed out, and not yet come back."""

    def __init__(self) -> None:
        self.listed = self.submitted = self.returned = 0
        self.most = 0

    def listing(self, count: int) -> Iterator[Names]:
        for number in range(count):
            self.listed += 1
            yield Names((str(number),))

    def submit(self, executor: Executor, partition: Partition) -> Future[bytes]:
        self.submitted += 1
        self.most = max(self.most, self.submitted - self.returned)
        return executor.submit(message, partition)


@given(st.permutations(range(8)))
def test_answers_come_in_the_listings_order_whoever_finishes_first(finishing: list[int]) -> None:
    partitions = [Names((str(number),)) for number in range(8)]
    futures: list[Future[bytes]] = []

    def submit(_: Executor, partition: Partition) -> Future[bytes]:
        futures.append(Future())
        if len(futures) == len(partitions):
            for number in finishing:
                futures[number].set_result(message(partitions[number]))
        return futures[-1]

    came = list(answers(partitions, executor=InlineExecutor(), window=9, submit=submit))
    assert came == [Answer(one, message(one)) for one in partitions]


@pytest.mark.parametrize("window", [1, 2, 5])
def test_the_window_bounds_what_is_under_way_and_what_is_listed(window: int) -> None:
    ledger = Ledger()
    flow = answers(
        ledger.listing(20), executor=InlineExecutor(), window=window, submit=ledger.submit
    )
    for _ in flow:
        assert ledger.listed - ledger.returned <= window, "listed further ahead than can be held"
        ledger.returned += 1
    assert ledger.returned == 20
    assert ledger.most == window, "the window is used, and no more"


def test_nothing_is_listed_before_it_is_asked_for() -> None:
    ledger = Ledger()
    answers(ledger.listing(5), executor=InlineExecutor(), window=3, submit=ledger.submit)
    assert ledger.listed == 0


def test_an_empty_listing_has_no_answers() -> None:
    assert run([]) == []


@pytest.mark.parametrize("window", [1, 2, 3, 10])
def test_failures_and_problems_keep_their_place_in_the_listing(window: int) -> None:
    items: list[Item] = [
        Problem("/cache/meta.json", "cannot be read"),
        Names(("a",)),
        Failure("/cache/docs/link.json", "docs", "a symbolic link"),
        Names(("b",)),
        Answer(Names(("ready",)), b"ready"),
        Names(("c",)),
        Problem("/cache/docs", "2 files"),
        Failure("/cache/todos", "todos", "cannot be listed"),
        Names(("d",)),
    ]
    expected = [
        item if not isinstance(item, Names) else Answer(item, message(item)) for item in items
    ]
    assert run(items, window=window) == expected


def _die_of(poison: frozenset[str], partition: Partition) -> bytes:
    if poison & set(partition.names):
        raise WorkerDiedError("a worker died (killed by SIGKILL)")
    return message(partition)


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.sets(st.integers(0, 44), max_size=6),
    st.integers(1, 6),
)
def test_only_the_entries_that_kill_workers_fail(
    sizes: list[int], poisonous: set[int], window: int
) -> None:
    names = iter(map(str, range(45)))
    partitions = [Names(tuple(next(names) for _ in range(size))) for size in sizes]
    everything = [name for partition in partitions for name in partition.names]
    poison = frozenset(map(str, poisonous)) & set(everything)

    came = run(partitions, window=window, read=partial(_die_of, poison))

    order = []
    for item in came:
        assert not isinstance(item, Problem)
        if isinstance(item, Failure):
            order.append(item.path.removeprefix("/cache/docs/"))
            assert order[-1] in poison
        else:
            assert item.message == message(item.partition)
            assert not poison & set(item.partition.names)
            order.extend(item.partition.names)
    assert order == everything, "each entry comes once, and in its place"


def test_the_failure_names_the_entry_and_how_its_worker_died() -> None:
    [failure] = run([Names(("a.json",))], read=partial(_die_of, frozenset(["a.json"])))
    assert isinstance(failure, Failure)
    assert failure.path == "/cache/docs/a.json"
    assert failure.cache_type == "docs"
    assert "killed by SIGKILL" in failure.reason
    assert "memory" in failure.reason


def test_an_entry_whose_worker_was_killed_by_chance_is_tried_again() -> None:
    died: list[Partition] = []

    def die_once(partition: Partition) -> bytes:
        if not died:
            died.append(partition)
            raise WorkerDiedError("a worker died (killed by SIGKILL)")
        return message(partition)

    assert run([Names(("a",)), Names(("b",))], read=die_once) == [
        Answer(Names(("a",)), b"a"),
        Answer(Names(("b",)), b"b"),
    ]


def test_any_other_error_of_a_worker_ends_the_run() -> None:
    def fail(partition: Partition) -> bytes:
        raise DamagedError("the destination is damaged")

    with pytest.raises(DamagedError, match="the destination is damaged"):
        run([Names(("a", "b"))], read=fail)
