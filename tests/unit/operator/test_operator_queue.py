"""The work queue, on a clock that a test moves."""

import threading

import pytest

from moaa_operator.kube.queue import NEWS_IN_A_ROW, Backoff, WorkQueue


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> WorkQueue[str]:
    return WorkQueue(Backoff(1, 60, jitter=lambda: 0.0), clock=clock)


def take_all(queue: WorkQueue[str]) -> list[str]:
    taken: list[str] = []
    while (key := queue.take(0)) is not None:
        taken.append(key)
        queue.done(key)
    return taken


def test_a_key_is_in_the_queue_once(queue: WorkQueue[str]) -> None:
    for key in ("a", "b", "a", "a"):
        queue.add(key)
    assert len(queue) == 2
    assert take_all(queue) == ["a", "b"]


def test_a_key_that_is_worked_on_is_handed_out_again_after_that(queue: WorkQueue[str]) -> None:
    queue.add("a")
    assert queue.take(0) == "a"
    queue.add("a")
    queue.add("a")
    assert queue.take(0) is None
    queue.done("a")
    assert take_all(queue) == ["a"]


def test_a_later_look_comes_when_it_is_time(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add_after("a", 30)
    assert queue.take(0) is None
    clock.now += 29.9
    assert queue.take(0) is None
    clock.now += 0.2
    assert take_all(queue) == ["a"]


def test_the_sooner_of_two_later_looks_counts_and_there_is_one(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add_after("a", 30)
    queue.add_after("a", 10)
    queue.add_after("a", 20)
    clock.now += 10
    assert take_all(queue) == ["a"]
    clock.now += 100
    assert take_all(queue) == []


def test_a_look_now_takes_the_place_of_a_later_one(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add_after("a", 10)
    queue.add("a")
    assert take_all(queue) == ["a"]
    clock.now += 100
    assert take_all(queue) == []


def test_a_key_that_becomes_due_while_it_is_worked_on_waits(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add("a")
    queue.take(0)
    queue.add_after("a", 5)
    clock.now += 6
    assert queue.take(0) is None
    queue.done("a")
    assert take_all(queue) == ["a"]


def test_errors_push_a_key_back_further_each_time_and_a_success_forgets_them(
    queue: WorkQueue[str], clock: Clock
) -> None:
    assert [queue.failed("a") for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    queue.succeeded("a")
    assert queue.failed("a") == 1
    assert queue.failed("b", at_least_s=7) == 7


def test_jitter_takes_off_at_most_half() -> None:
    delays = [Backoff(8, 60, jitter=lambda part=part: part).delay_s(1) for part in (0.0, 0.5, 0.999)]  # type: ignore[misc]  # a lambda's default
    assert delays == pytest.approx([8, 6, 4], abs=0.01)


def test_a_forgotten_key_has_no_turn_left(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add("a")
    queue.add_after("b", 1)
    queue.forget("a")
    queue.forget("b")
    clock.now += 10
    assert take_all(queue) == []


def test_a_key_added_before_its_worker_forgets_it_has_another_turn(queue: WorkQueue[str]) -> None:
    queue.add("a")
    assert queue.take(0) == "a"
    queue.add("a")
    queue.forget("a")
    queue.done("a")
    assert take_all(queue) == ["a"]


def test_no_key_is_worked_on_by_two_threads() -> None:
    queue: WorkQueue[int] = WorkQueue(Backoff(1, 60), clock=lambda: 0.0)
    active: set[int] = set()
    clashes: list[int] = []
    seen = threading.Semaphore(0)

    def work() -> None:
        while (key := queue.take()) is not None:
            if key in active:
                clashes.append(key)
            active.add(key)
            active.discard(key)
            queue.done(key)
            seen.release()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for i in range(400):
        queue.add(i % 5)
    assert seen.acquire(timeout=10)
    queue.close()
    for worker in workers:
        worker.join(10)
    assert clashes == []


def test_closing_ends_those_who_wait() -> None:
    queue: WorkQueue[str] = WorkQueue(Backoff(1, 60), clock=lambda: 0.0)
    ended = threading.Event()

    def wait() -> None:
        assert queue.take() is None
        ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    queue.close()
    assert ended.wait(10)
    thread.join()
    queue.add("late")
    assert queue.take(0) is None


def test_news_go_before_regular_looks(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add_after("due", 1)
    clock.now += 1
    queue.add("figures", is_news=False)
    queue.add("both", is_news=False)
    queue.add("news")
    queue.add("both")
    queue.add("news", is_news=False)
    assert len(queue) == 4
    assert take_all(queue) == ["news", "both", "figures", "due"]


def test_regular_looks_have_their_turn_among_any_number_of_news(queue: WorkQueue[str]) -> None:
    queue.add("regular", is_news=False)
    for number in range(NEWS_IN_A_ROW + 3):
        queue.add(f"{number}")
    assert take_all(queue).index("regular") == NEWS_IN_A_ROW


def test_news_of_a_key_that_is_worked_on_count(queue: WorkQueue[str]) -> None:
    queue.add("a")
    assert queue.take(0) == "a"
    queue.add("b", is_news=False)
    queue.add("a")
    queue.add("a", is_news=False)
    queue.done("a")
    assert take_all(queue) == ["a", "b"]
