"""Requests that are sent again (P8): what they made before, whatever has become since of what they name."""

from cogvideox.serving.job import Job, NewJob
from cogvideox.serving.job_store import JobStore
from cogvideox.serving.libraries import sqlalchemy
from cogvideox.serving.records import job_of
from cogvideox.serving.schema import idempotency, jobs
from cogvideox.serving.submission import job_of_digest

sa = sqlalchemy()


def made_before(store: JobStore, owner: str, digest: str, *, key: str | None, is_retry: bool) -> Job | None:
    """Return the job that the same request made before; None if there is none, and `JobStore.submit` is to decide.

    Args:
        store: that has it.
        owner: who asks.
        digest: of the request.
        key: that names the request, for 24 hours.
        is_retry: the client says, without a key, that it sends a request again.
    """
    if key is None and not is_retry:
        return None
    with store.database.reading() as transaction:
        if key is None:
            return job_of_digest(transaction, NewJob(owner=owner, model="any", params={}, params_digest=digest, seed=0))
        meant = sa.select(jobs).join(idempotency, idempotency.c.job_id == jobs.c.id)
        meant = meant.where(idempotency.c.owner == owner, idempotency.c.key == key)
        meant = meant.where(idempotency.c.params_digest == digest, idempotency.c.expires_us > transaction.now_us)
        row = transaction.connection.execute(meant).one_or_none()
        return None if row is None else job_of(row)
