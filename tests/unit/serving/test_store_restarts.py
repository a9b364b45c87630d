"""A PostgreSQL that is stopped or killed under a store."""

import time

import pytest

from cogvideox.serving.job import StoreUnavailableError
from cogvideox.serving.job_store import JobStore
from job_store_model import new_job
from postgres_server import PostgresServer, postgres_server


@pytest.mark.slow
def test_postgresql_that_restarts_is_unavailable_and_recovers() -> None:
    with postgres_server(is_durable=True) as server:
        store = JobStore.open(server.new_database())
        job = store.submit(new_job(), idempotency_key="k").job
        claimed = store.claim("w")
        for stop in (server.stop, server.kill):
            stop()
            with pytest.raises(StoreUnavailableError):
                store.submit(new_job(), idempotency_key="l")
            with pytest.raises(StoreUnavailableError):
                store.get(job.id)
            _start_again(server)
            assert not store.heartbeat(job.id, claimed.lease_token).is_lost
        assert store.submit(new_job(), idempotency_key="k").is_replay
        assert store.complete(job.id, claimed.lease_token, files={}) == "completed"
        store.close()


def _start_again(server: PostgresServer) -> None:
    for _ in range(20):  # after a kill its children take a moment to end
        try:
            server.start()
            return
        except AssertionError:
            time.sleep(0.3)
    raise AssertionError("PostgreSQL does not start again")
