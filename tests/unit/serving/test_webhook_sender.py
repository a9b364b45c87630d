"""Targets that are down, fail, are gone, slow, or lead inside: events arrive, videos do not care (fault 29)."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from cogvideox.serving import webhook_sender
from cogvideox.serving.database import Database
from cogvideox.serving.job import QueueLimits, StoreUnavailableError
from cogvideox.serving.job_store import JobStore
from cogvideox.serving.outbox import MAX_TRIES, outbox_state, take, wait_s
from cogvideox.serving.webhook_sender import MAX_SLOW_AT_ONCE, Sender
from cogvideox.serving.webhooks import Webhooks
from job_store_model import Clock, file_ref, new_job
from webhook_target import Target, targets

NO_LIMITS = QueueLimits(max_queued=0, max_queued_per_owner=0)
HOUR_S = 3600


@pytest.fixture
def store(store_url: str, clock: Clock) -> Iterator[JobStore]:
    store = JobStore.open(store_url, limits=NO_LIMITS, clock=clock)
    yield store
    store.close()


@pytest.fixture
def quick(quick_folder: Path, clock: Clock) -> Iterator[JobStore]:
    """For what is the same in every database."""
    store = JobStore.open(f"sqlite:///{quick_folder}/jobs.sqlite3", limits=NO_LIMITS, clock=clock)
    yield store
    store.close()


@pytest.fixture
def target() -> Iterator[Target]:
    with targets(1) as made:
        yield made[0]


def register(store: JobStore, target: Target, owner: str = "ann") -> str:
    return Webhooks(store.database).new(target.url, owner=owner, is_private_allowed=True)[0].id


def end_job(store: JobStore, owner: str = "ann") -> str:
    """Let a job end; return its id."""
    job = store.submit(new_job(owner=owner)).job
    taken = store.claim("w")
    assert taken.id == job.id
    assert store.complete(job.id, taken.lease_token, files={"result": file_ref("r")}) == "completed"
    return job.id


def send_all(sender: Sender, timeout_s: float = 15) -> None:
    sender.send_due()
    sender.join(timeout_s)


def hook_of(store: JobStore, number: int = 0):
    return Webhooks(store.database).all()[number]


def test_a_target_that_fails_is_tried_for_three_days_and_the_event_then_given_up(
    store: JobStore, clock: Clock, target: Target
) -> None:
    register(store, target)
    job_id = end_job(store)
    ended = store.get(job_id)
    target.answer = 500
    sender = Sender(store.database)
    times_s: list[float] = []
    begun_us = clock.now_us
    for number in range(MAX_TRIES):
        send_all(sender)
        assert len(target.told) == number + 1
        times_s.append((clock.now_us - begun_us) / 1e6)
        again_s = wait_s(number + 1)
        if again_s is not None:
            clock.advance(again_s - 0.001)
            send_all(sender)
            assert len(target.told) == number + 1  # not before its time
            clock.advance(0.001)
    assert [round(after - before) for before, after in itertools.pairwise(times_s)] == [
        30, 60, 120, 240, 480, 960, 1920, 3840, 7680, 15360, 30720, 61440, 86400, 86400
    ]  # fmt: skip
    assert 3 * 24 < times_s[-1] / HOUR_S < 4 * 24
    assert len({told.headers["webhook-id"] for told in target.told}) == 1
    assert len({told.body for told in target.told}) == 1
    clock.advance(40 * 24 * HOUR_S)
    send_all(sender)
    assert len(target.told) == MAX_TRIES
    state, hook = outbox_state(store.database), hook_of(store)
    assert (state.num_waiting, state.num_given_up, hook.num_given_up, hook.last_answer) == (0, 1, 1, "HTTP 500")
    assert hook.disabled_us is None and store.get(job_id) == ended


def test_a_target_that_was_down_for_a_day_gets_everything(quick: JobStore, clock: Clock) -> None:
    store = quick
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    hooks = Webhooks(store.database)
    hooks.new(f"http://127.0.0.1:{port}/", owner="ann", is_private_allowed=True)
    jobs = [end_job(store) for _ in range(2)]
    sender = Sender(store.database)
    for _ in range(24):
        for _ in jobs:
            send_all(sender)
        clock.advance(HOUR_S)
    assert hook_of(store).last_answer == "no answer: ConnectionRefusedError"
    assert outbox_state(store.database).num_waiting == 2 and outbox_state(store.database).oldest_s == 24 * HOUR_S
    with targets(1) as (replacement,):
        with store.database.writing() as transaction:  # it is back, at the address that it had
            transaction.connection.exec_driver_sql(f"UPDATE webhooks SET url = '{replacement.url}'")
        send_all(sender)
        assert replacement.told == []  # its time has not come
        assert hooks.enable(hook_of(store).id)  # but the operator need not wait for it
        for _ in jobs:
            send_all(sender)
        assert len({told.headers["webhook-id"] for told in replacement.told}) == 2
        assert {job_id for job_id in jobs if any(job_id.encode() in told.body for told in replacement.told)} == set(
            jobs
        )
    assert outbox_state(store.database).num_waiting == 0


def test_a_target_that_is_gone_is_told_nothing_more_until_it_is_enabled(
    store: JobStore, clock: Clock, target: Target
) -> None:
    hook_id = register(store, target)
    target.answer = 410
    for _ in range(3):
        end_job(store)
    sender = Sender(store.database)
    for _ in range(3):
        send_all(sender)
    assert len(target.told) == 1
    end_job(store)
    clock.advance(30 * 24 * HOUR_S)
    send_all(sender)
    assert len(target.told) == 1
    hook = hook_of(store)
    assert hook.disabled_us is not None and "410" in (hook.disabled_reason or "")
    assert (hook.num_given_up, hook.num_waiting, outbox_state(store.database).num_given_up) == (3, 0, 3)
    assert Webhooks(store.database).enable(hook_id) and hook_of(store).disabled_us is None
    target.answer = 200
    job_id = end_job(store)
    send_all(sender)
    assert len(target.told) == 2 and job_id.encode() in target.told[1].body


def test_slow_targets_are_slow_for_themselves_alone(quick: JobStore) -> None:
    store = quick
    num_slow = MAX_SLOW_AT_ONCE + 4
    with targets(num_slow + 1) as made:
        *slow, other = made
        release = threading.Event()

        def wait(_: BaseHTTPRequestHandler) -> None:
            release.wait(20)

        sender = Sender(store.database, timeout_s=1.5)
        for number, each in enumerate(slow):
            each.answer = wait
            register(store, each, owner=f"slow{number}")
            end_job(store, f"slow{number}")
        register(store, other, owner="quick")
        send_all(sender)
        assert all(len(each.told) == 1 for each in slow)
        answers = Counter(hook.last_answer for hook in Webhooks(store.database).all())
        assert answers == {"no answer within 1.5 s": num_slow, None: 1}
        # They are known to be slow now, and have more to get than there is room for.
        for number in range(num_slow):
            end_job(store, f"slow{number}")
            end_job(store, f"slow{number}")
        sender.send_due()
        begun_s = time.monotonic()
        job_id = end_job(store, "quick")  # and jobs end meanwhile
        assert time.monotonic() - begun_s < 1
        sender.send_due()
        while not other.told:
            assert time.monotonic() - begun_s < 1.2
            time.sleep(0.01)
        assert job_id.encode() in other.told[0].body
        assert sum(len(each.told) for each in slow) <= num_slow + MAX_SLOW_AT_ONCE
        release.set()
        sender.join(15)


def test_redirections_are_not_followed(quick: JobStore, clock: Clock, target: Target) -> None:
    store = quick
    with targets(1) as (canary,):

        def leads_inside(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            handler.send_header("Location", canary.url)
            handler.end_headers()

        target.answer = leads_inside
        register(store, target)
        job_id = end_job(store)
        sender = Sender(store.database)
        for status in (301, 302, 303, 307, 308):
            send_all(sender)
            assert hook_of(store).last_answer == f"HTTP {status}"
            clock.advance(HOUR_S)
        assert len(target.told) == 5 and canary.told == []
        assert outbox_state(store.database).num_waiting == 1 and store.get(job_id).state == "completed"


def test_two_senders_bring_each_event_once(store_url: str, target: Target) -> None:
    stores = [JobStore.open(store_url, limits=NO_LIMITS) for _ in range(2)]
    for number in range(5):
        register(stores[0], target, owner=f"o{number}")
    jobs = [end_job(stores[0], f"o{number % 5}") for number in range(15)]
    senders = [Sender(store.database) for store in stores]
    end_s = time.monotonic() + 20
    while outbox_state(stores[0].database).num_waiting and time.monotonic() < end_s:
        threads = [threading.Thread(target=send_all, args=(sender,)) for sender in senders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    counted = Counter(told.headers["webhook-id"] for told in target.told)
    assert len(counted) == len(jobs) and set(counted.values()) == {1}
    for store in stores:
        store.close()


SENDS = """
import sys, threading
from cogvideox.serving.database import Database
from cogvideox.serving.webhook_sender import Sender
Sender(Database(sys.argv[1]), lease_s=2.0).run(threading.Event())
"""


def test_a_sender_killed_between_sending_and_noting_loses_nothing(store_url: str, target: Target) -> None:
    store = JobStore.open(store_url, limits=NO_LIMITS)
    register(store, target)
    jobs = [end_job(store), end_job(store)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen([sys.executable, "-c", SENDS, store_url], env=environment)

    def kill(_: BaseHTTPRequestHandler) -> None:  # it has the event; that it does is never noted
        process.send_signal(signal.SIGKILL)

    target.answer = kill
    process.wait(timeout=30)
    assert process.returncode == -signal.SIGKILL and len(target.told) == 1
    assert outbox_state(store.database).num_waiting == 2
    target.answer = 200
    sender = Sender(store.database)
    is_ending = threading.Event()
    running = threading.Thread(target=sender.run, args=(is_ending,))
    running.start()
    end_s = time.monotonic() + 20
    while outbox_state(store.database).num_waiting and time.monotonic() < end_s:
        time.sleep(0.05)
    is_ending.set()
    running.join()
    ids = Counter(told.headers["webhook-id"] for told in target.told)
    assert sorted(ids.values()) == [1, 2] and ids[target.told[0].headers["webhook-id"]] == 2
    assert all(any(job_id.encode() in told.body for told in target.told) for job_id in jobs)
    store.close()


def test_a_store_that_does_not_answer_for_a_while_costs_no_second_try(
    quick: JobStore, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = quick
    register(store, target)
    end_job(store)
    real, num_calls = webhook_sender.note, 0

    def note(*arguments):
        nonlocal num_calls
        num_calls += 1
        if num_calls < 3:
            raise StoreUnavailableError("it restarts")
        return real(*arguments)

    monkeypatch.setattr(webhook_sender, "note", note)
    send_all(Sender(store.database))
    assert num_calls == 3 and len(target.told) == 1 and outbox_state(store.database).num_waiting == 0


def test_a_clock_that_was_wrong_holds_up_nothing(store: JobStore, clock: Clock, target: Target) -> None:
    register(store, target)
    clock.advance(365 * 24 * HOUR_S)
    end_job(store)
    assert take(store.database, lease_s=60) is not None  # and its sender dies
    clock.advance(-365 * 24 * HOUR_S)
    send_all(Sender(store.database))
    assert len(target.told) == 1 and outbox_state(store.database).num_waiting == 0


def test_a_database_is_asked_little_if_nothing_happens(quick_folder: Path) -> None:
    database = Database(f"sqlite:///{quick_folder}/jobs.sqlite3")
    before = database.path.stat().st_mtime_ns if database.path else 0
    sender, is_ending = Sender(database), threading.Event()
    running = threading.Thread(target=sender.run, args=(is_ending,))
    with database.reading() as transaction:
        first = database.change_mark(transaction)
    running.start()
    time.sleep(1.5)
    is_ending.set()
    running.join(5)
    with database.reading() as transaction:
        assert database.change_mark(transaction) == first  # nothing was written
    assert not running.is_alive() and database.path is not None and database.path.stat().st_mtime_ns == before
    database.close()
