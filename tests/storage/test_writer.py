"""Group commit: few transactions, strict order, and no caller left waiting."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from fanlight.errors import Corruption, DeadlineExceeded, NotReady, Overloaded
from fanlight_server.storage.writer import GroupWriter

MIB = 1 << 20


class FakeDisk:
    """Takes groups of jobs; can be held up, and refuses a group with a negative job."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.asked = 0
        self.bytes_free = 1 << 40
        self.started = threading.Semaphore(0)
        self.open = threading.Event()
        self.open.set()

    def room(self) -> int:
        self.asked += 1
        return self.bytes_free

    def apply(self, jobs: Sequence[int]) -> list[int]:
        self.started.release()
        assert self.open.wait(timeout=10)
        self.groups.append(list(jobs))
        if min(jobs, default=0) < 0:
            raise Corruption("a bad group")
        return [job * 10 for job in jobs]

    def hold(self) -> None:
        """Let the next group hang until `open` is set."""
        self.open.clear()

    def wait_started(self) -> None:
        assert self.started.acquire(timeout=10)


@pytest.fixture
def disk() -> FakeDisk:
    """Give a disk that takes everything."""
    return FakeDisk()


@pytest.fixture
def writer(disk: FakeDisk) -> Iterator[GroupWriter[int, int]]:
    """Give a writer to it."""
    writer = GroupWriter[int, int]("writer-test", disk.apply, disk.room)
    yield writer
    disk.open.set()
    writer.close()


def gathered(
    writer: GroupWriter[int, int], disk: FakeDisk, jobs: Sequence[int]
) -> list[Future[int]]:
    """Submit jobs while the disk is busy with job 0, then let it go on."""
    disk.hold()
    first = writer.submit(0, 1)
    disk.wait_started()
    futures = [writer.submit(job, 1) for job in jobs]
    disk.open.set()
    return [first, *futures]


def test_writes_gather_while_the_disk_is_busy(
    writer: GroupWriter[int, int], disk: FakeDisk
) -> None:
    """What came during one transaction shares the next, in order, and each gets its own result."""
    futures = gathered(writer, disk, range(1, 30))
    assert [future.result(timeout=10) for future in futures] == [job * 10 for job in range(30)]
    assert disk.groups == [[0], list(range(1, 30))]
    assert disk.asked == 2


def test_many_threads_share_transactions(writer: GroupWriter[int, int], disk: FakeDisk) -> None:
    """Writes of many threads need fewer transactions than there are writes; none is lost."""
    disk.hold()
    start = threading.Barrier(9)

    def write(thread: int) -> list[int]:
        start.wait(timeout=10)
        futures = [writer.submit(thread * 100 + n, 1) for n in range(50)]
        return [future.result(timeout=10) for future in futures]

    with ThreadPoolExecutor(8) as pool:
        results = [pool.submit(write, thread) for thread in range(8)]
        start.wait(timeout=10)
        disk.open.set()
        for thread, result in enumerate(results):
            assert result.result(timeout=10) == [(thread * 100 + n) * 10 for n in range(50)]
    written = [job for group in disk.groups for job in group]
    assert sorted(written) == sorted(t * 100 + n for t in range(8) for n in range(50))
    assert len(disk.groups) < 200
    for thread in range(8):
        own = [job for job in written if job // 100 == thread]
        assert own == sorted(own)


def test_a_failure_is_that_of_its_group_alone(
    writer: GroupWriter[int, int], disk: FakeDisk
) -> None:
    """All callers of a failed transaction learn of it, and those after it are served."""
    first, *failed = gathered(writer, disk, [1, -2, 3])
    assert first.result(timeout=10) == 0
    for future in failed:
        with pytest.raises(Corruption, match="a bad group"):
            future.result(timeout=10)
    assert writer.submit(4, 1).result(timeout=10) == 40


def test_large_writes_are_not_gathered_without_bound(
    writer: GroupWriter[int, int], disk: FakeDisk
) -> None:
    """A transaction takes a few MiB, then the next one begins."""
    disk.hold()
    writer.submit(0, 1)
    disk.wait_started()
    futures = [writer.submit(job, 3 * MIB) for job in range(1, 11)]
    disk.open.set()
    for future in futures:
        future.result(timeout=10)
    assert [job for group in disk.groups for job in group] == list(range(11))
    assert max(len(group) for group in disk.groups) <= 4


def test_too_much_waiting_is_refused(writer: GroupWriter[int, int], disk: FakeDisk) -> None:
    """Past the limit of waiting bytes a write is refused at once; what was accepted is written."""
    disk.hold()
    futures = [writer.submit(0, 1)]
    disk.wait_started()
    with pytest.raises(Overloaded, match="writes: ") as caught:
        futures.extend(writer.submit(job, MIB) for job in range(1, 1_000))
    accepted = len(futures)
    assert 16 < accepted <= 129
    assert caught.value.retry_after_s is not None
    disk.open.set()
    assert [future.result(timeout=10) for future in futures] == [n * 10 for n in range(accepted)]
    assert writer.submit(5, 100 * MIB).result(timeout=10) == 50


def test_one_write_is_accepted_however_large(writer: GroupWriter[int, int]) -> None:
    """A write larger than the whole queue is taken when nothing else waits."""
    assert writer.submit(1, 1 << 40).result(timeout=10) == 10


@pytest.mark.parametrize("bytes_free", [0, 1, 5])
def test_a_group_is_no_larger_than_the_room(
    writer: GroupWriter[int, int], disk: FakeDisk, bytes_free: int
) -> None:
    """Of what waits, as much is taken as there is room for, and one write in any case."""
    disk.bytes_free = bytes_free
    futures = gathered(writer, disk, range(1, 11))
    assert [future.result(timeout=10) for future in futures] == [job * 10 for job in range(11)]
    assert max(len(group) for group in disk.groups) == max(1, bytes_free)


def test_closing_writes_what_waits(writer: GroupWriter[int, int], disk: FakeDisk) -> None:
    """What was accepted is written before the writer ends; nothing is accepted after."""
    disk.hold()
    futures = [writer.submit(0, 1)]
    disk.wait_started()
    futures += [writer.submit(job, 3 * MIB) for job in range(1, 12)]
    closer = threading.Thread(target=writer.close)
    closer.start()
    disk.open.set()
    closer.join(timeout=10)
    assert not closer.is_alive()
    assert all(future.done() for future in futures)
    assert [job for group in disk.groups for job in group] == list(range(12))
    with pytest.raises(NotReady):
        writer.submit(99, 1)
    writer.close()


def test_a_caller_who_has_gone_is_not_written(
    writer: GroupWriter[int, int], disk: FakeDisk
) -> None:
    """A write cancelled while it waited is not applied, and its neighbours are."""
    disk.hold()
    first = writer.submit(0, 1)
    disk.wait_started()
    others = [writer.submit(job, 1) for job in (1, 2, 3)]
    assert others[1].cancel()
    disk.open.set()
    assert first.result(timeout=10) == 0
    assert [others[0].result(timeout=10), others[2].result(timeout=10)] == [10, 30]
    assert disk.groups == [[0], [1, 3]]


def test_a_write_whose_time_is_over_is_not_done(disk: FakeDisk) -> None:
    """It fails with DeadlineExceeded, changes nothing, and its neighbours are written."""
    now = [0.0]
    writer = GroupWriter[int, int]("writer-late", disk.apply, disk.room, lambda: now[0])
    disk.hold()
    first = writer.submit(1, 1)
    disk.wait_started()
    late, wanted = writer.submit(2, 1, timeout_s=5.0), writer.submit(3, 1, timeout_s=50.0)
    now[0] = 6.0
    disk.open.set()
    assert (first.result(10), wanted.result(10)) == (10, 30)
    with pytest.raises(DeadlineExceeded, match="nothing was changed"):
        late.result(10)
    writer.close()
    assert disk.groups == [[1], [3]]
