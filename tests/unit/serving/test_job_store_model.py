"""Any sequence of calls does to a real store what it does to a model of one page (promises P1 to P8 and P10)."""

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from cogvideox.serving.database import COUNT_PREFIX
from cogvideox.serving.job import IdempotencyConflictError, Job, Progress, QueueFullError, QueueLimits
from cogvideox.serving.job_store import JobStore
from cogvideox.serving.schema import metadata, store_state
from job_store_model import DEADLINE_S, LEASE_S, LIMITS, MAX_ATTEMPTS, RETENTION_S, Model, file_ref, new_job

OWNERS = st.sampled_from(["ann", "bob", "cy"])
MODELS = st.sampled_from(["tiny", "2b"])
PICK = st.integers(0, 10**6)
START_S = 1_800_000_000


class StoreMachine(RuleBasedStateMachine):
    store: JobStore
    now_us = START_S * 1_000_000

    @initialize()
    def empty(self) -> None:
        with self.store.database.writing() as transaction:
            for table in reversed(metadata.sorted_tables):
                if table is not store_state:
                    transaction.connection.execute(table.delete())
            counted = store_state.c.name.startswith(COUNT_PREFIX)
            transaction.connection.execute(store_state.delete().where(counted))
        type(self).now_us = START_S * 1_000_000
        self.model = Model()
        self.tokens: list[tuple[str, str]] = []
        """Of all claims ever, those that are stale too."""
        self.ended: dict[str, tuple[Any, ...]] = {}
        self.mark = self.store.change_mark()
        self.told: dict[str, Job] = {}

    @property
    def now_s(self) -> float:
        return self.now_us / 1e6

    def tick(self) -> None:
        type(self).now_us += 1

    @rule(owners=st.lists(OWNERS, min_size=1, max_size=4), priority=st.sampled_from([0, 0, 1]))
    def submit_several(self, owners, priority) -> None:
        for owner in owners:
            self.submit(owner, "tiny", priority, "d", None, False, True)

    @rule(num_claims=st.integers(1, 3))
    def claim_several(self, num_claims) -> None:
        for _ in range(num_claims):
            self.claim(("tiny", "2b"))

    @rule(pick=PICK)
    def report_then_publish(self, pick) -> None:
        self.heartbeat(pick, 3, True)
        self.complete(pick)

    @rule(pick=PICK, num_times=st.integers(1, 3))
    def crash_again_and_again(self, pick, num_times) -> None:
        for _ in range(num_times):
            self.fail(pick, True, True, 0)
            self.claim(("tiny", "2b"))

    @rule(pick=PICK, steps=st.lists(st.integers(0, 5), min_size=2, max_size=4))
    def killed_at_steps(self, pick, steps) -> None:
        for step in steps:
            self.heartbeat(pick, step, True)
            self.fail(pick, True, True, 0)
            self.claim(("tiny", "2b"))

    @rule(num_times=st.integers(1, 2))
    def workers_die(self, num_times) -> None:
        for _ in range(num_times):
            self.claim(("tiny",))
            self.advance(61)
            self.reap()

    @rule(
        owner=OWNERS,
        model=MODELS,
        priority=st.sampled_from([0, 0, 1]),
        digest=st.sampled_from(["d", "e"]),
        key=st.sampled_from([None, None, "k", "l"]),
        is_retry=st.booleans(),
        has_image=st.booleans(),
    )
    def submit(self, owner, model, priority, digest, key, is_retry, has_image) -> None:
        self.tick()
        files = {"image": file_ref(f"image {digest}")} if has_image else {}
        new = new_job(
            owner=owner,
            model=model,
            priority=priority,
            params_digest=digest,
            files=files,
            max_attempts=MAX_ATTEMPTS,
            retention_s=RETENTION_S,
            deadline_s=DEADLINE_S,
        )
        new = new_job(
            **{**vars(new), "max_attempts": MAX_ATTEMPTS, "retention_s": RETENTION_S, "deadline_s": DEADLINE_S}
        )
        expected = self.model.submit(new, key, is_retry, self.now_s)
        try:
            submitted = self.store.submit(new, idempotency_key=key, retry_of_recent=is_retry)
        except QueueFullError as error:
            assert expected == "full" and error.retry_after_s >= 1
        except IdempotencyConflictError:
            assert expected == "conflict"
        else:
            assert submitted.is_replay == (expected != "new")
            if submitted.is_replay:
                assert submitted.job.id == expected
            else:
                assert submitted.job.id not in self.model.jobs
                self.model.stored(submitted.job.id, new, key, self.now_s)

    @rule(models=st.sampled_from([("tiny",), ("2b",), ("tiny", "2b")]))
    def claim(self, models) -> None:
        self.model.reap(self.now_s)
        expected = self.model.next(models, self.now_s)
        job = self.store.claim("worker", models=models, lease_s=LEASE_S)
        assert (job.id if job else None) == (expected.id if expected else None)
        if job is not None and expected is not None:
            assert job.lease_token is not None and (job.id, job.lease_token) not in self.tokens
            self.tokens.append((job.id, job.lease_token))
            self.model.claimed(expected, job.lease_token, self.now_s)

    def pick_token(self, pick: int) -> tuple[str, str] | None:
        return self.tokens[-1 - pick % min(len(self.tokens), 4)] if self.tokens else None

    @rule(pick=PICK, step=st.integers(0, 5), has_files=st.booleans())
    def heartbeat(self, pick, step, has_files) -> None:
        if (held := self.pick_token(pick)) is None:
            return
        files = {role: file_ref(f"{role} {step}") for role in ("preview", "checkpoint")} if has_files else {}
        signal = self.store.heartbeat(*held, Progress(step=step, progress=step, files=files), lease_s=LEASE_S)
        job = self.model.jobs[held[0]]
        is_lost = job.token != held[1] or job.state != "in_progress"
        assert signal.is_lost == is_lost
        if not is_lost:
            assert signal.is_cancel_requested == job.is_cancel_requested
            job.lease_until_s = self.now_s + LEASE_S
            job.step = step
            job.files |= files

    @rule(pick=PICK)
    def complete(self, pick) -> None:
        if (held := self.pick_token(pick)) is not None:
            files = {"result": file_ref(f"result {held}")}
            expected = self.model.complete(*held, files, self.now_s)
            assert self.store.complete(*held, files=files) == expected

    @rule(pick=PICK, is_retryable=st.booleans(), is_crash=st.booleans(), delay_s=st.sampled_from([0, 0, 30]))
    def fail(self, pick, is_retryable, is_crash, delay_s) -> None:
        if (held := self.pick_token(pick)) is not None:
            how = {"is_retryable": is_retryable, "is_crash": is_crash, "delay_s": delay_s}
            expected = self.model.fail(*held, **how, now_s=self.now_s)
            assert self.store.fail(*held, "internal", "it broke", **how) == expected

    @rule(pick=PICK)
    def release(self, pick) -> None:
        if (held := self.pick_token(pick)) is not None:
            expected = self.model.release(*held, self.now_s)
            assert self.store.release(*held) == expected

    @rule(owner=OWNERS, pick=PICK, is_delete=st.booleans())
    def cancel_or_delete(self, owner, pick, is_delete) -> None:
        if not self.model.jobs:
            return
        job_id = list(self.model.jobs)[pick % len(self.model.jobs)]
        job = self.model.visible(job_id, owner)
        if job is not None:
            self.model.cancel(job, self.now_s)
            job.is_deleted = is_delete
        if is_delete:
            assert self.store.delete(job_id, owner=owner) == (job is not None)
        else:
            answer = self.store.request_cancel(job_id, owner=owner)
            assert (answer.state if answer else None) == (job.state if job else None)

    @rule()
    def reap(self) -> None:
        expected = self.model.reap(self.now_s)
        assert {each.job_id: each.outcome for each in self.store.reap()} == expected

    @rule()
    def expire(self) -> None:
        assert self.store.expire() == self.model.expire(self.now_s)

    @rule()
    def release_files(self) -> None:
        key = str
        assert sorted(self.store.release_files(), key=key) == sorted(self.model.release_files(), key=key)

    @rule(seconds=st.sampled_from([1, 20, 45, 61, 115, 130, 700, 90_000]))
    def advance(self, seconds) -> None:
        type(self).now_us += seconds * 1_000_000

    @invariant()
    def same_jobs(self) -> None:
        changes = self.store.changes(self.mark)  # all that is known of jobs is what the feed of changes told
        self.mark = changes.mark
        self.told |= {job.id: job for job in changes.jobs}
        assert set(self.told) == set(self.model.jobs)
        for job_id, job in self.told.items():
            expected = self.model.jobs[job_id]
            assert job.state == expected.state
            assert job.attempt == expected.attempt <= expected.max_attempts == job.max_attempts
            assert job.num_crashes == expected.num_crashes
            assert job.error_code == expected.error_code
            assert job.is_cancel_requested == expected.is_cancel_requested
            assert job.is_deleted == expected.is_deleted
            assert job.is_expired == expected.is_expired
            assert job.files == expected.files
            times = [time for time in (job.created_us, job.started_us, job.finished_us, job.expires_us) if time]
            assert times == sorted(times)
            if job.is_terminal:  # once ended, always the same
                end = (job.state, job.error_code, job.finished_us, job.attempt, job.progress)
                assert self.ended.setdefault(job_id, end) == end

    @invariant()
    def same_lists(self) -> None:
        visible = [job.id for job in self.model.jobs.values() if not job.is_deleted]
        page = self.store.page(limit=100, order="asc")
        assert [job.id for job in page.jobs] == visible and not page.has_more
        counts = self.store.counts()
        assert sum(counts.by_state.values()) == len(visible)
        named = {file.sha256 for job in self.model.jobs.values() for file in job.files.values()}
        assert self.store.named_files() == named
        tallies = self.store.tallies()
        assert {name: tallies[name] for name in tallies if not name.startswith("jobs:")} == +self.model.tallies
        ends = Counter(
            f"jobs:{job.state}:{job.error_code or ''}:{job.model}" for job in self.told.values() if job.is_terminal
        )
        assert {name: tallies[name] for name in tallies if name.startswith("jobs:")} == ends

    @invariant()
    def positions_tell_who_is_next(self) -> None:
        queue = [job_id for job_id, position in self.store.positions().items()]
        assert sorted(queue) == sorted(job.id for job in self.model.queued())
        by_turn = Model(jobs={job.id: job for job in self.model.queued()}, turns=dict(self.model.turns))
        order = []
        by_turn.turn = self.model.turn
        for _ in queue:
            job = min(by_turn.queued(), key=lambda job: (-job.priority, by_turn.turns[job.owner], job.created_s))
            order.append(job.id)
            del by_turn.jobs[job.id]
            by_turn.turn += 1
            by_turn.turns[job.owner] = by_turn.turn
        assert queue == order


def test_store_does_what_the_model_does(store_url: str) -> None:
    class Machine(StoreMachine):
        pass

    Machine.store = JobStore.open(store_url, limits=QueueLimits(**LIMITS), clock=lambda: Machine.now_us)
    how = settings(
        max_examples=20,
        stateful_step_count=50,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        print_blob=True,
    )
    run_state_machine_as_test(Machine, settings=how)
    Machine.store.close()
