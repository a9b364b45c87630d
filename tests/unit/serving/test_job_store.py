"""What a job store promises, case by case, in both kinds of database."""

import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from cogvideox.serving.job import (
    IdempotencyConflictError,
    Progress,
    QueueFullError,
    QueueLimits,
    StoreUnavailableError,
    Worker,
)
from cogvideox.serving.job_store import JobStore
from cogvideox.serving.schema import jobs
from job_store_model import Clock, file_ref, new_job

NO_LIMITS = QueueLimits(max_queued=0, max_queued_per_owner=0)


@pytest.fixture
def store(store_url: str) -> Iterator[JobStore]:
    """On the database's own clock."""
    store = JobStore.open(store_url, limits=NO_LIMITS)
    yield store
    store.close()


@pytest.fixture
def timed(store_url: str, clock: Clock) -> Iterator[JobStore]:
    """On the test's clock, by which no two things happen at once."""
    clock.tick_us = 1
    store = JobStore.open(store_url, limits=NO_LIMITS, clock=clock)
    yield store
    store.close()


def test_a_job_comes_back_as_it_was_given(store: JobStore) -> None:
    params = {"prompt": "여우 🦊 \u202e \ud800 \0 \n", "nested": {"list": [1, 2.5, None, True]}}
    new = new_job(
        params=params, seed=2**63 - 1, files={"image": file_ref("a")}, warnings=({"code": "snapped"},), num_steps=50
    )
    job = store.submit(new).job
    assert job == store.get(job.id)
    assert (job.params, job.seed, job.files, job.warnings) == (params, 2**63 - 1, new.files, new.warnings)
    assert job.state == "queued" and job.progress == 0 and job.started_us is None
    assert abs(job.created_us / 1e6 - time.time()) < 5
    later = store.submit(new_job()).job
    assert later.id > job.id  # sorted by time


def test_one_key_sent_fifty_times_at_once_makes_one_job(store: JobStore) -> None:
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: store.submit(new_job(), idempotency_key="k"), range(50)))
    assert len({answer.job.id for answer in answers}) == 1
    assert Counter(answer.is_replay for answer in answers) == {False: 1, True: 49}
    assert store.counts().by_state["queued"] == 1
    with pytest.raises(IdempotencyConflictError):
        store.submit(new_job(params_digest="other"), idempotency_key="k")
    assert not store.submit(new_job(owner="bob", params_digest="other"), idempotency_key="k").is_replay
    for bad in ("", "k" * 256, "k" * 10**6, "\ud800", "a\0"):
        with pytest.raises(ValueError, match="idempotency_key"):
            store.submit(new_job(), idempotency_key=bad)


def test_a_key_is_forgotten_after_a_day_and_a_retry_after_two_minutes(timed: JobStore, clock: Clock) -> None:
    first = timed.submit(new_job(), idempotency_key="k").job
    clock.advance(119)
    assert timed.submit(new_job(), retry_of_recent=True).job.id == first.id
    assert not timed.submit(new_job()).is_replay
    assert not timed.submit(new_job(owner="bob"), retry_of_recent=True).is_replay
    clock.advance(121)
    assert not timed.submit(new_job(), retry_of_recent=True).is_replay
    clock.advance(24 * 3600 - 250)
    assert timed.submit(new_job(), idempotency_key="k").is_replay
    clock.advance(20)
    again = timed.submit(new_job(params_digest="other"), idempotency_key="k")
    assert not again.is_replay and again.job.id != first.id


def test_a_full_queue_says_so_and_stores_nothing(store_url: str) -> None:
    store = JobStore.open(store_url, limits=QueueLimits(max_queued=5, max_queued_per_owner=3))
    with ThreadPoolExecutor(20) as pool:  # the limits hold for requests at the same time too

        def submit(number: int) -> str:
            try:
                return store.submit(new_job(owner=f"owner {number % 2}")).job.id
            except QueueFullError as error:
                return error.scope

        answers = Counter(answer[:5] for answer in pool.map(submit, range(20)))
    assert answers["video"] == 5
    with pytest.raises(QueueFullError) as told:
        store.submit(new_job(owner="cy"), idempotency_key="k")
    assert told.value.scope == "total" and told.value.retry_after_s >= 1
    assert store.claim("w") is not None
    assert store.submit(new_job(owner="cy"), idempotency_key="k").is_replay is False
    assert len(store.page().jobs) == 6
    with pytest.raises(QueueFullError, match="in about"):
        store.check_room("cy")
    store.close()


def test_owners_take_turns_inside_a_priority(store: JobStore) -> None:
    names = {store.submit(new_job(owner="ann")).job.id: f"ann {number}" for number in range(4)}
    names |= {store.submit(new_job(owner="bob")).job.id: f"bob {number}" for number in range(2)}
    names |= {store.submit(new_job(owner="cy", priority=1)).job.id: "cy, in a hurry"}
    names |= {store.submit(new_job(owner="cy")).job.id: "cy 0"}
    told = [names[job_id] for job_id in store.positions()]
    taken = []
    while (job := store.claim("w")) is not None:
        taken.append(names[job.id])
    assert taken == ["cy, in a hurry", "ann 0", "bob 0", "cy 0", "ann 1", "bob 1", "ann 2", "ann 3"]
    assert told == taken


def test_an_owner_runs_no_more_jobs_than_allowed(store_url: str) -> None:
    limits = QueueLimits(max_queued=0, max_queued_per_owner=0, max_running_per_owner=2)
    store = JobStore.open(store_url, limits=limits)
    for _ in range(10):
        store.submit(new_job(owner="ann"))
    store.submit(new_job(owner="bob"))
    with ThreadPoolExecutor(8) as pool:
        taken = [job for job in pool.map(lambda number: store.claim(f"w{number}"), range(8)) if job]
    assert sorted(job.owner for job in taken) == ["ann", "ann", "bob"]
    store.close()


def test_two_hundred_jobs_are_taken_once_each_by_eight_threads(store: JobStore) -> None:
    ids = {store.submit(new_job(owner=f"o{number % 5}")).job.id for number in range(200)}

    def work(name: str) -> list[str]:
        taken = []
        while (job := store.claim(name)) is not None:
            assert job.worker_id == name and job.lease_token
            assert store.complete(job.id, job.lease_token, files={"result": file_ref(job.id)}) == "completed"
            taken.append(job.id)
        return taken

    with ThreadPoolExecutor(8) as pool:
        taken = [job_id for each in pool.map(work, [f"w{number}" for number in range(8)]) for job_id in each]
    assert len(taken) == 200 and set(taken) == ids
    assert store.counts().by_state == {"queued": 0, "in_progress": 0, "completed": 200, "failed": 0}


def test_a_worker_takes_only_jobs_of_its_models(store: JobStore) -> None:
    job = store.submit(new_job(model="5b")).job
    assert store.claim("w", models=("tiny", "2b")) is None and store.claim("w", models=()) is None
    claimed = store.claim("w", models=("5b",))
    assert claimed is not None and claimed.id == job.id and claimed.attempt == 1


def test_a_stopped_worker_that_wakes_changes_nothing(timed: JobStore, clock: Clock) -> None:
    job_id = timed.submit(new_job()).job.id
    late = timed.claim("late", lease_s=60)
    clock.advance(30)
    assert not timed.heartbeat(job_id, late.lease_token).is_lost
    clock.advance(59)
    assert timed.claim("winner") is None
    clock.advance(2)
    winner = timed.claim("winner")
    assert winner is not None and (winner.id, winner.attempt, winner.num_crashes) == (job_id, 2, 1)
    assert timed.heartbeat(job_id, late.lease_token).is_lost
    assert timed.complete(job_id, late.lease_token, files={"result": file_ref("late")}) == "lost"
    assert timed.fail(job_id, late.lease_token, "internal", "x") == timed.release(job_id, late.lease_token) == "lost"
    assert timed.complete(job_id, winner.lease_token, files={"result": file_ref("winner")}) == "completed"
    done = timed.get(job_id)
    assert timed.complete(job_id, late.lease_token, files={"result": file_ref("late")}) == "lost"
    assert timed.complete(job_id, winner.lease_token, files={}) == "completed"  # its answer may have got lost
    assert timed.get(job_id) == done and done.files == {"result": file_ref("winner")}


def test_a_lease_that_ran_out_still_counts_while_nobody_took_the_job(timed: JobStore, clock: Clock) -> None:
    job = timed.submit(new_job()).job
    claimed = timed.claim("w")
    clock.advance(1000)  # the database was away
    assert timed.complete(job.id, claimed.lease_token, files={}) == "completed"


def test_a_job_that_kills_its_workers_is_not_tried_a_third_time(timed: JobStore, clock: Clock) -> None:
    poison, neighbour = timed.submit(new_job()).job, timed.submit(new_job()).job
    for _ in range(2):
        assert timed.claim("w").id == poison.id
        clock.advance(61)
        timed.reap()
    ended = timed.get(poison.id)
    assert (ended.state, ended.error_code, ended.attempt) == ("failed", "worker_lost", 2)
    claimed = timed.claim("w")
    assert claimed.id == neighbour.id
    assert (
        timed.fail(claimed.id, claimed.lease_token, "worker_lost", "died", is_retryable=True, is_crash=True) == "queued"
    )
    claimed = timed.claim("w")
    assert (
        timed.fail(claimed.id, claimed.lease_token, "worker_lost", "died", is_retryable=True, is_crash=True) == "failed"
    )
    assert timed.get(neighbour.id).error_code == "worker_lost"


@pytest.mark.parametrize("is_seen", [True, False])
def test_a_job_that_advances_outlives_any_number_of_deaths(timed: JobStore, clock: Clock, is_seen: bool) -> None:
    job_id = timed.submit(new_job(num_steps=50)).job.id

    def die(step: int) -> str:
        claimed = timed.claim("w")
        assert claimed is not None
        progress = Progress(step=step, files={"checkpoint": file_ref("state")})
        timed.heartbeat(job_id, claimed.lease_token, progress, lease_s=60)
        if is_seen:
            return timed.fail(job_id, claimed.lease_token, "worker_lost", "", is_retryable=True, is_crash=True)
        clock.advance(61)
        (reaped,) = timed.reap()
        return reaped.outcome

    assert [die(step) for step in (0, 3, 7, 8, 20, 41)] == ["queued"] * 6
    job = timed.get(job_id)
    assert (job.attempt, job.num_crashes) == (6, 1) and job.files == {"checkpoint": file_ref("state")}
    assert die(12) == "failed"  # it began anew and came less far: that is no progress
    job = timed.get(job_id)
    assert (job.error_code, job.attempt, job.num_crashes, job.files) == ("worker_lost", 7, 2, {})
    reason = "worker_lost" if is_seen else "lease_lost"
    ends = {f"attempts:{reason}": 7, "resumes": 6, "jobs:failed:worker_lost:tiny": 1}
    assert timed.tallies() == ends | ({} if is_seen else {"lease_lost": 7})


def test_system_faults_are_tried_three_times_and_user_errors_once(timed: JobStore, clock: Clock) -> None:
    job = timed.submit(new_job()).job
    for outcome in ("queued", "queued", "failed"):
        claimed = timed.claim("w")
        how = {"is_retryable": True, "delay_s": 5}
        assert timed.fail(job.id, claimed.lease_token, "internal", "a\0b" * 5000, **how) == outcome
        assert timed.claim("w") is None
        clock.advance(5)
    assert timed.get(job.id).attempt == 3 and len(timed.get(job.id).error_message) <= 2000
    job = timed.submit(new_job()).job
    claimed = timed.claim("w")
    assert timed.fail(job.id, claimed.lease_token, "out_of_memory", "ask for less") == "failed"
    assert timed.get(job.id).error_code == "out_of_memory" and timed.claim("w") is None


def test_a_released_job_goes_on_elsewhere_and_is_not_charged(store: JobStore) -> None:
    job = store.submit(new_job(num_steps=10)).job
    for _ in range(5):
        claimed = store.claim("w")
        progress = Progress(stage="denoise", step=4, progress=40, files={"checkpoint": file_ref("state")})
        store.heartbeat(job.id, claimed.lease_token, progress)
        assert store.release(job.id, claimed.lease_token) == "queued"
    claimed = store.claim("w")
    assert (claimed.attempt, claimed.step, claimed.num_crashes) == (1, 4, 0)
    assert claimed.files == {"checkpoint": file_ref("state")} and claimed.started_us >= claimed.created_us


def test_a_job_ends_by_its_deadline_wherever_it_is(timed: JobStore, clock: Clock) -> None:
    waiting, running = timed.submit(new_job(deadline_s=100)).job, timed.submit(new_job(deadline_s=100, priority=1)).job
    claimed = timed.claim("w")
    assert claimed.id == running.id
    for _ in range(4):
        clock.advance(25)
        assert not timed.heartbeat(running.id, claimed.lease_token).is_lost
    clock.advance(1)
    assert {each.job_id: each.error_code for each in timed.reap()} == {waiting.id: "timeout", running.id: "timeout"}
    assert timed.heartbeat(running.id, claimed.lease_token).is_lost
    assert timed.complete(running.id, claimed.lease_token, files={}) == "lost"


def test_cancel_and_publish_at_the_same_time_have_one_end(store: JobStore) -> None:
    ends = Counter()
    for _ in range(25):
        neighbour = store.submit(new_job(owner="bob")).job
        job = store.submit(new_job(priority=1)).job
        claimed = store.claim("w")
        assert claimed.id == job.id
        barrier = threading.Barrier(2)

        def cancel(job_id: str = job.id, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            store.request_cancel(job_id, owner="ann")

        thread = threading.Thread(target=cancel)
        thread.start()
        barrier.wait()
        outcome = store.complete(job.id, claimed.lease_token, files={"result": file_ref("r")})
        thread.join()
        end = store.get(job.id)
        assert (outcome, end.state, end.error_code) in (
            ("completed", "completed", None),
            ("canceled", "failed", "canceled"),
        )
        assert end.files == ({"result": file_ref("r")} if outcome == "completed" else {})
        assert store.get(neighbour.id) == neighbour
        ends[outcome] += 1
        store.delete(neighbour.id)
    assert sum(ends.values()) == 25


def test_cancel_reaches_the_worker_and_no_other_job(store: JobStore) -> None:
    job, other = store.submit(new_job()).job, store.submit(new_job()).job
    claimed, second = store.claim("w"), store.claim("v")
    assert store.request_cancel(job.id, owner="bob") is None
    assert store.request_cancel(job.id, owner="ann").state == "in_progress"
    assert store.heartbeat(job.id, claimed.lease_token).is_cancel_requested
    assert not store.heartbeat(other.id, second.lease_token).is_cancel_requested
    assert store.fail(job.id, claimed.lease_token, "internal", "whatever it says", is_retryable=True) == "canceled"
    assert store.get(job.id).error_code == "canceled"
    before = store.get(job.id)
    assert store.request_cancel(job.id, owner="ann") == before  # twice is harmless


def test_delete_of_running_completed_twice_and_foreign_jobs(store: JobStore) -> None:
    running, done = store.submit(new_job()).job, store.submit(new_job()).job
    claimed, second = store.claim("w"), store.claim("w")
    store.complete(done.id, second.lease_token, files={"result": file_ref("r")})
    assert not store.delete(done.id, owner="bob")
    for job_id in (running.id, done.id):
        assert store.delete(job_id, owner="ann")
        assert not store.delete(job_id, owner="ann")
        assert store.get(job_id, owner="ann") is None and store.request_cancel(job_id) is None
    assert store.release_files() == (file_ref("r"),)  # the running one keeps its own until its worker stops
    assert store.heartbeat(running.id, claimed.lease_token).is_cancel_requested
    assert store.complete(running.id, claimed.lease_token, files={"result": file_ref("s")}) == "canceled"
    store.release_files()
    assert store.named_files() == set() and store.page().jobs == ()


@pytest.mark.parametrize(
    "bad", ["", "video_", "video_x", "../etc/passwd", "a\0b", "\ud800", "video_" + "0" * 32, "x" * 10**6]
)
def test_an_unknown_id_is_nobodys_job(store: JobStore, bad: str) -> None:
    assert store.get(bad) is None and store.request_cancel(bad) is None and not store.delete(bad)
    with pytest.raises(ValueError, match="after"):
        store.page(after=bad)


def test_pages_have_every_job_once_though_all_are_of_one_moment(timed: JobStore, clock: Clock) -> None:
    clock.tick_us = 0
    made = [timed.submit(new_job(owner="ann" if number % 2 else "bob")).job for number in range(60)]  # at one time
    own = sorted((job.id for job in made if job.owner == "ann"), reverse=True)
    for order in ("desc", "asc"):
        found: list[str] = []
        while True:
            page = timed.page(owner="ann", after=found[-1] if found else None, limit=7, order=order)
            found += [job.id for job in page.jobs]
            if not page.has_more:
                break
            timed.submit(new_job(owner="bob"))
        assert found == (own if order == "desc" else own[::-1])
    assert timed.delete(own[5], owner="ann")
    after = timed.page(owner="ann", after=own[5], limit=1)  # a deleted cursor still tells where it was
    assert [job.id for job in after.jobs] == [own[6]]
    foreign = next(job.id for job in made if job.owner == "bob")
    with pytest.raises(ValueError, match="after"):
        timed.page(owner="ann", after=foreign)
    for bad in ({"limit": 0}, {"limit": 101}, {"limit": -1}, {"order": "x"}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            timed.page(**bad)


def test_ten_thousand_jobs_of_one_moment_are_paged_without_gap(timed: JobStore) -> None:
    first = timed.submit(new_job()).job
    with timed.database.writing() as transaction:
        row = dict(transaction.connection.execute(jobs.select()).one()._mapping)
        rows = [{**row, "id": f"video_{number:032x}"} for number in range(9_999)]
        transaction.connection.execute(jobs.insert(), rows)
    found: list[str] = []
    while True:
        page = timed.page(after=found[-1] if found else None, limit=100)
        found += [job.id for job in page.jobs]
        if not page.has_more:
            break
    assert len(found) == len(set(found)) == 10_000 and first.id in found


def test_changes_are_told_to_those_who_wait(store: JobStore) -> None:
    mark = store.change_mark()
    assert store.wait_for_change(mark, timeout_s=0.05).jobs == ()
    job = store.submit(new_job()).job
    seen: list[tuple[str, int]] = []

    def watch() -> None:
        at = mark
        while not seen or seen[-1][0] != "completed":
            changes = store.wait_for_change(at, timeout_s=5, poll_s=0.005)
            at = changes.mark
            seen.extend((each.state, each.step) for each in changes.jobs)

    watcher = threading.Thread(target=watch)
    watcher.start()
    claimed = store.claim("w")
    for step in range(5):
        store.heartbeat(job.id, claimed.lease_token, Progress(step=step))
        time.sleep(0.02)
    store.complete(job.id, claimed.lease_token, files={})
    watcher.join(timeout=10)
    assert not watcher.is_alive()
    assert ("in_progress", 4) in seen


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)  # SQLite has one writer
def test_a_change_is_told_once_while_others_still_write(store: JobStore) -> None:
    mark = store.change_mark()
    with store.database.writing():  # somebody's long transaction
        job = store.submit(new_job()).job
        first = store.changes(mark)
        assert [each.id for each in first.jobs] == [job.id]
        again = store.changes(first.mark)
        assert again.jobs == ()
        store.request_cancel(job.id)
        last = store.changes(again.mark)
        assert [each.state for each in last.jobs] == ["failed"]
    assert store.changes(last.mark).jobs == ()


def test_no_change_is_left_out_whatever_the_order_of_commits(store: JobStore) -> None:
    """Transactions end in another order than they begin: a mark must not pass over one that still runs."""
    made = [store.submit(new_job()).job for _ in range(8)]
    held = {job.id: job for job in (store.claim("w") for _ in made) if job is not None}
    mark, last, is_over = store.change_mark(), {}, threading.Event()

    def watch() -> None:
        at = mark
        while not is_over.is_set():
            changes = store.changes(at)
            at = changes.mark
            last.update({job.id: job.step for job in changes.jobs})
        last.update({job.id: job.step for job in store.changes(at).jobs})

    watcher = threading.Thread(target=watch)
    watcher.start()

    def report(job_id: str) -> None:
        for step in range(1, 26):
            store.heartbeat(job_id, held[job_id].lease_token, Progress(step=step))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(report, held))
    is_over.set()
    watcher.join()
    assert last == dict.fromkeys(held, 25)


def test_workers_are_listed_and_fall_silent(timed: JobStore, clock: Clock) -> None:
    worker = Worker(id="w", host="here", pid=3, models=("tiny",), device="cpu", state="ready", facts={"gib": 24})
    timed.register_worker(worker)
    timed.register_worker(worker)
    assert timed.counts().num_workers == 1
    assert timed.report_worker("w", "busy", job_id="j") and not timed.report_worker("nobody", "ready")
    clock.advance(31)
    (listed,) = timed.workers()
    assert (listed.state, listed.job_id, round(listed.silent_s), listed.facts) == ("busy", "j", 31, {"gib": 24})
    assert timed.counts().num_workers == 0
    timed.remove_worker("w")
    assert timed.workers() == ()


def test_waits_are_estimated_from_what_happened(timed: JobStore, clock: Clock) -> None:
    for _ in range(3):
        timed.submit(new_job())
        claimed = timed.claim("w")
        clock.advance(20)
        timed.complete(claimed.id, claimed.lease_token, files={})
    for name in ("w", "v"):
        timed.register_worker(Worker(id=name, host="here", pid=3, models=("tiny",), state="ready"))
    made = [timed.submit(new_job()).job for _ in range(6)]
    standing = timed.positions()
    waits_s = [standing[job.id].wait_s for job in made]
    assert waits_s == pytest.approx([0, 0, 10, 20, 30, 40], abs=1)
    timed.claim("w")
    standing = timed.positions()
    assert [standing[job.id].num_ahead for job in made[1:]] == [0, 1, 2, 3, 4]
    assert made[0].id not in standing


def test_a_file_of_sqlite_that_is_moved_takes_nothing_until_it_is_back(quick_folder) -> None:
    path, away = quick_folder / "jobs.sqlite3", quick_folder / "away"
    store = JobStore.open(f"sqlite:///{path}")
    job = store.submit(new_job()).job
    calls = {
        "check": store.check,
        "submit": lambda: store.submit(new_job()),
        "claim": lambda: store.claim("w"),
        "get": lambda: store.get(job.id),
    }
    path.rename(away)
    for is_replaced in (False, True):
        if is_replaced:
            shutil.copy(away, path)
        for name, call in calls.items():
            with pytest.raises(StoreUnavailableError, match="was moved or replaced; "):
                call()
            assert path.exists() is is_replaced, name
    away.rename(path)
    assert store.page().jobs == (job,) and store.claim("w").id == job.id
    store.close()


def test_sqlite_waits_for_the_disk_on_every_connection(quick_folder) -> None:
    store = JobStore.open(f"sqlite:///{quick_folder}/jobs.sqlite3")
    with store.database.reading() as first, store.database.reading() as second, store.database.writing() as third:
        for transaction in (first, second, third):
            names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            found = [transaction.connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names]
            assert found == ["wal", 2, 1, 5000]
    store.close()


def test_a_full_disk_is_unavailable_and_recovers(quick_folder) -> None:
    store = JobStore.open(f"sqlite:///{quick_folder}/jobs.sqlite3", limits=NO_LIMITS)
    with store.database.writing() as transaction:
        num_pages = transaction.connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        transaction.connection.exec_driver_sql(f"PRAGMA max_page_count = {num_pages + 1}")
    with pytest.raises(StoreUnavailableError, match="full"):
        store.submit(new_job(params={"prompt": "x" * 100_000}), idempotency_key="k")
    assert store.page().jobs == ()
    with store.database.writing() as transaction:
        transaction.connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    assert not store.submit(new_job(params={"prompt": "x" * 100_000}), idempotency_key="k").is_replay
    store.close()


def test_sqlite_that_is_locked_is_unavailable_and_recovers(quick_folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cogvideox.serving.database.BUSY_TIMEOUT_S", 0.2)
    store = JobStore.open(f"sqlite:///{quick_folder}/jobs.sqlite3")
    job = store.submit(new_job()).job
    claimed = store.claim("w")
    other = sqlite3.connect(quick_folder / "jobs.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailableError):
        store.submit(new_job())
    with pytest.raises(StoreUnavailableError):
        store.check()
    assert store.get(job.id) == claimed  # reading goes on, in new processes too
    newcomer = JobStore.open(f"sqlite:///{quick_folder}/jobs.sqlite3")
    assert newcomer.get(job.id) == claimed
    newcomer.close()
    other.execute("ROLLBACK")
    store.check()
    assert store.complete(job.id, claimed.lease_token, files={}) == "completed"
    assert len(store.page().jobs) == 1
    other.close()
    store.close()
