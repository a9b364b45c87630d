"""Who is told that videos ended: targets, events in the outbox, signatures, the command line."""

import json
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from cogvideox.cli.main import main
from cogvideox.serving import leases
from cogvideox.serving.database import Database
from cogvideox.serving.job_store import JobStore
from cogvideox.serving.outbox import forget_events, note, outbox_state, take
from cogvideox.serving.webhook_sender import send_test
from cogvideox.serving.webhooks import Webhooks, event_body, is_in_reach, signed_headers
from job_store_model import Clock, file_ref, new_job
from webhook_target import targets

PUBLIC = "https://hooks.example.com/x"
DAY_S = 24 * 3600


@pytest.fixture
def store(store_url: str, clock: Clock) -> Iterator[JobStore]:
    store = JobStore.open(store_url, clock=clock)
    yield store
    store.close()


def events_of(database: Database) -> list[tuple[str, str, str]]:
    with database.reading() as transaction:
        rows = transaction.connection.exec_driver_sql("SELECT webhook_id, job_id, type FROM outbox ORDER BY id").all()
    return sorted(tuple(row) for row in rows)


def test_every_end_of_a_job_is_one_event_for_each_target_that_wants_it(store: JobStore, clock: Clock) -> None:
    webhooks = Webhooks(store.database)
    both, _ = webhooks.new(PUBLIC, owner="ann")
    failures, _ = webhooks.new(PUBLIC, owner="ann", events=("video.failed",))
    webhooks.new(PUBLIC, owner="bob")
    expected = set()

    def ends(job_id: str, event: str) -> None:
        expected.update((hook.id, job_id, event) for hook in (both, failures) if event in hook.events)
        assert set(events_of(store.database)) == expected and len(events_of(store.database)) == len(expected)

    job = store.submit(new_job()).job
    taken = store.claim("w")
    assert store.fail(job.id, taken.lease_token, "internal", "x", is_retryable=True) == "queued"
    ends("", "none")  # it has not ended
    taken = store.claim("w")
    for _ in range(2):  # the answer got lost: it is said again
        assert store.complete(job.id, taken.lease_token, files={"result": file_ref("r")}) == "completed"
    ends(job.id, "video.completed")
    job = store.submit(new_job()).job
    store.fail(job.id, store.claim("w").lease_token, "out_of_memory", "x")
    ends(job.id, "video.failed")
    job = store.submit(new_job()).job
    store.request_cancel(job.id)
    ends(job.id, "video.failed")
    job = store.submit(new_job(deadline_s=10)).job
    clock.advance(20)
    assert [each.outcome for each in store.reap()] == ["failed"]
    ends(job.id, "video.failed")


def test_a_job_and_its_event_are_stored_together_or_not_at_all(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    Webhooks(store.database).new(PUBLIC, owner="ann")
    job = store.submit(new_job()).job
    taken = store.claim("w")
    changed = leases._changed

    def fails(*arguments: object) -> None:
        changed(*arguments)
        raise AssertionError("the process dies")

    monkeypatch.setattr(leases, "_changed", fails)
    with pytest.raises(AssertionError, match="dies"):
        store.complete(job.id, taken.lease_token, files={})
    assert store.get(job.id).state == "in_progress" and events_of(store.database) == []
    monkeypatch.setattr(leases, "enqueue", lambda *_: None)  # without the hook nothing is told
    monkeypatch.setattr(leases, "_changed", changed)
    store.complete(job.id, taken.lease_token, files={})
    assert store.get(job.id).state == "completed" and events_of(store.database) == []


def test_openai_accepts_our_signatures_and_no_others(quick_folder: Path) -> None:
    client = openai.OpenAI(api_key="none", base_url="http://127.0.0.1:1/v1")
    database = Database(f"sqlite:///{quick_folder}/jobs.sqlite3")
    _, other = Webhooks(database).new(PUBLIC, owner="ann")
    with targets(1) as (target,):
        hook, secret = Webhooks(database).new(target.url, owner="ann", is_private_allowed=True)
        answer = send_test(database, hook.id)
    database.close()
    assert answer is not None and answer.verdict == "sent"
    told = target.told[0]
    assert told.headers["content-type"] == "application/json" and told.path == "/hook"
    event = client.webhooks.unwrap(told.body, told.headers, secret=secret)
    assert event.id == told.headers["webhook-id"] and event.id.startswith("evt_") and event.object == "event"
    assert json.loads(told.body)["data"] == {"id": hook.id}
    client.webhooks.verify_signature(told.body, told.headers, secret=secret)
    later = told.headers | {"webhook-timestamp": str(int(told.headers["webhook-timestamp"]) + 1)}
    for body, headers, key in (
        (told.body + b" ", told.headers, secret),
        (told.body, later, secret),
        (told.body, told.headers | {"webhook-id": "evt_x"}, secret),
        (told.body, told.headers, other),
    ):
        with pytest.raises(openai.InvalidWebhookSignatureError):
            client.webhooks.verify_signature(body, headers, secret=key)


INNER = ("http://hooks.example.com/", "https://127.0.0.1/", "https://[::1]/", "https://10.1.2.3/", "https://localhost/",
         "https://0x7f000001/", "https://2130706433/", "https://hooks.example.com:8443/", "https://u@hooks.example.com/",
         "file:///etc/passwd", "ftp://hooks.example.com/", "https://a b.example/", "https://a.example\\@b/", "//x", "",
         "https://", "https://[::1", "https://a.example/\r\nX: y", "https://\u0430.example/",
         "https://hooks.example.com/" + "x" * 3000)  # fmt: skip


def test_only_public_addresses_of_https_are_taken_unless_the_operator_says_so(quick_folder: Path) -> None:
    database = Database(f"sqlite:///{quick_folder}/jobs.sqlite3")
    webhooks = Webhooks(database)
    for url in INNER:
        with pytest.raises(ValueError, match=r"^url: expected"):
            webhooks.new(url, owner="ann")
    for url in ("ftp://a/", "file:///x", "http://", "http://u:p@a/", "http://a:0/", "http://a:99999/", "http://a b/"):
        with pytest.raises(ValueError, match=r"^url: expected"):
            webhooks.new(url, owner="ann", is_private_allowed=True)
    for url in ("http://127.0.0.1:9/x?y=1", "http://[::1]:8080/", "https://nas.local/", "http://relay"):
        webhooks.new(url, owner="ann", is_private_allowed=True)
    for values in ({"owner": ""}, {"owner": "a\0"}, {"owner": "ann", "events": ()}, {"owner": "a", "events": ("x",)}):
        with pytest.raises(ValueError, match=r"owner|events"):
            webhooks.new(PUBLIC, **values)
    for _ in range(16):
        webhooks.new(PUBLIC, owner="ann")
    with pytest.raises(ValueError, match="20 targets"):
        webhooks.new(PUBLIC, owner="ann")
    database.close()
    own = ("127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "fd00::1", "100.64.0.1")
    never = ("169.254.169.254", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "240.0.0.1", "x",
             "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::")  # fmt: skip
    assert all(is_in_reach(each, is_private_allowed=True) for each in (*own, "8.8.8.8"))
    assert not any(is_in_reach(each, is_private_allowed=False) for each in (*own, *never))
    assert not any(is_in_reach(each, is_private_allowed=True) for each in never)


def test_secrets_are_for_senders_alone(quick_folder: Path) -> None:
    path = quick_folder / "jobs.sqlite3"
    store = JobStore.open(f"sqlite:///{path}")
    store.submit(new_job())
    names = [path, path.with_name("jobs.sqlite3-wal"), path.with_name("jobs.sqlite3-shm")]
    for name in names:
        name.chmod(0o644)
    hook, secret = Webhooks(store.database).new(PUBLIC, owner="ann")
    assert [name.stat().st_mode & 0o777 for name in names] == [0o600] * 3
    assert secret.startswith("whsec_") and len(secret) == 6 + 44
    store.request_cancel(store.page().jobs[0].id)
    delivery = take(store.database, lease_s=60)
    assert delivery is not None and delivery.secret == secret
    shown = repr((hook, Webhooks(store.database).all(), delivery))
    assert secret not in shown and secret[6:] not in shown
    store.close()


def test_what_was_sent_is_forgotten_after_a_day_and_what_nobody_waits_for_at_once(
    store: JobStore, clock: Clock
) -> None:
    webhooks = Webhooks(store.database)
    kept, _ = webhooks.new(PUBLIC, owner="ann")
    removed, _ = webhooks.new(PUBLIC, owner="bob")
    for owner in ("ann", "ann", "bob", "bob"):
        store.request_cancel(store.submit(new_job(owner=owner)).job.id)
    assert outbox_state(store.database).num_waiting == 4
    sent = take(store.database, lease_s=60, without={removed.id})
    assert sent is not None and note(store.database, sent, "sent", "HTTP 200")
    assert not note(store.database, sent, "sent", "HTTP 200")
    late = take(store.database, lease_s=60, without={kept.id})
    assert late is not None and webhooks.remove(removed.id) and not webhooks.remove(removed.id)
    assert not note(store.database, late, "failed", "HTTP 500")  # its target is gone
    with store.database.writing() as transaction:  # a job ended while the target was being removed
        transaction.connection.exec_driver_sql(
            "INSERT INTO outbox (id, webhook_id, job_id, type, state, num_tries, not_before_us, created_us) "
            f"VALUES ('evt_1', '{removed.id}', 'video_1', 'video.failed', 'waiting', 0, 0, 0)"
        )
    state = outbox_state(store.database)
    assert (state.num_waiting, state.oldest_s, state.num_given_up) == (1, 0.0, 0)
    assert forget_events(store.database, older_than_s=DAY_S) == 1
    clock.advance(DAY_S + 1)
    assert forget_events(store.database, older_than_s=DAY_S) == 1
    assert len(events_of(store.database)) == 1 and outbox_state(store.database).oldest_s == DAY_S + 1


def test_a_sender_that_was_stopped_for_too_long_changes_nothing(store: JobStore, clock: Clock) -> None:
    Webhooks(store.database).new(PUBLIC, owner="ann")
    store.request_cancel(store.submit(new_job()).job.id)
    first = take(store.database, lease_s=60)
    assert first is not None and take(store.database, lease_s=60) is None
    clock.advance(61)
    second = take(store.database, lease_s=60)
    assert second is not None and (second.id, second.num_tries) == (first.id, 0) and second.token != first.token
    for verdict in ("sent", "failed", "gone"):
        assert not note(store.database, first, verdict, "late")
    (hook,) = Webhooks(store.database).all()
    assert (hook.last_answer, hook.disabled_us, hook.num_waiting, hook.num_given_up) == (None, None, 1, 0)
    assert note(store.database, second, "sent", "HTTP 200") and outbox_state(store.database).num_waiting == 0


def test_the_body_and_its_signature_are_those_of_the_standard() -> None:
    # The example of the specification of Standard Webhooks.
    body = b'{"test": 2432232314}'
    headers = signed_headers("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    event = json.loads(event_body("evt_1", "video.completed", 1_800_000_000_999_999, "video_1"))
    assert event == {
        "id": "evt_1",
        "object": "event",
        "type": "video.completed",
        "created_at": 1_800_000_000,
        "data": {"id": "video_1"},
    }


def test_the_command_line(quick_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["webhooks", *arguments, "--data-dir", str(quick_folder)])
        captured = capsys.readouterr()
        assert ended.value.code == code, captured
        shown.append(captured.out + captured.err)
        return captured.out

    shown: list[str] = []
    with targets(1) as (target,):
        assert "--allow-private" in (run("new", target.url, code=2) or shown[-1])
        secret = run("new", target.url, "--allow-private", "--events", "video.failed").strip()
        assert secret.startswith("whsec_")
        del shown[:]
        hook = json.loads(run("list", "--json"))["data"]["webhooks"][0]
        assert (hook["owner"], hook["events"], hook["num_waiting"]) == ("local", ["video.failed"], 0)
        listed = run("list")
        assert all(text in listed for text in (hook["id"], target.url, "video.failed", "given up", " on"))
        run("test", hook["id"])
        openai.OpenAI(api_key="x").webhooks.unwrap(target.told[0].body, target.told[0].headers, secret=secret)
        target.answer = 500
        run("test", hook["id"], code=5)
        assert "HTTP 500" in shown[-1]
        run("enable", hook["id"])
        run("rm", hook["id"])
        for verb in ("test", "enable", "rm"):
            run(verb, hook["id"], code=2)
            run(verb, "'; --", code=2)
    assert not any(secret[6:] in each for each in shown)
