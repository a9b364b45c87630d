"""Brings events to targets: a few at a time, one for each target, so that a slow target is slow for itself alone."""

import http.client
import logging
import ssl
import threading
import time
from dataclasses import dataclass

import cogvideox
from cogvideox.serving.database import Database
from cogvideox.serving.fetching import PinnedConnection, Resolve, resolved
from cogvideox.serving.job import StoreError, StoreUnavailableError
from cogvideox.serving.outbox import Delivery, Verdict, new_event_id, note, take
from cogvideox.serving.webhooks import Webhooks, address_of, event_body, is_in_reach, signed_headers

log = logging.getLogger(__name__)

TIMEOUT_S = 10.0
"""From the connection to the end of the answer."""
MAX_ANSWER_BYTES = 64 * 1024
LEASE_S = 60.0
"""After this time another sender may try: longer than a try takes, finding the address included."""
MAX_AT_ONCE = 16
MAX_SLOW_AT_ONCE = 8
"""Of targets that were slow or failed the last time: the others always have room."""
SLOW_S = 1.0
POLL_S = 0.5
TROUBLE_S = 5.0
"""Between looks at a store that does not answer."""
STOP_S = 3.0
"""For what is being sent when the service ends; what does not end is sent again at the next start."""
TEST_TYPE = "webhook.test"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of a try."""

    verdict: Verdict
    text: str
    """For people, short."""


class Sender:
    """Sends what is due, in threads of this process. Any number of processes may do so."""

    def __init__(
        self,
        database: Database,
        *,
        lease_s: float = LEASE_S,
        timeout_s: float = TIMEOUT_S,
        resolve: Resolve = resolved,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """Use the outbox in a database.

        Args:
            database: its tables.
            lease_s: after this time another sender may try what this one has not ended.
            timeout_s: of a try.
            resolve: returns the addresses of a name; for tests.
            context: of TLS; for tests.
        """
        self._database = database
        self._lease_s, self._timeout_s = lease_s, timeout_s
        self._resolve = resolve
        self._context = context or ssl.create_default_context()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._threads: dict[str, threading.Thread] = {}
        """By the target that each sends to."""
        self._slow: set[str] = set()

    def run(self, is_ending: threading.Event) -> None:
        """Send until the service ends, and then what its last jobs left."""
        while not is_ending.is_set():
            if self._try_to_send():
                self._wake.wait(POLL_S)
                self._wake.clear()
            else:
                is_ending.wait(TROUBLE_S)
        self._try_to_send()
        self.join(STOP_S)

    def send_due(self) -> None:
        """Begin to send what is due now and has room."""
        while True:
            with self._lock:
                left_out = set(self._threads)
                if len(left_out) >= MAX_AT_ONCE:
                    return
                if len(left_out & self._slow) >= MAX_SLOW_AT_ONCE:
                    left_out |= self._slow
            delivery = take(self._database, lease_s=self._lease_s, without=left_out)
            if delivery is None:
                return
            thread = threading.Thread(target=self._deliver, args=(delivery, time.monotonic()), daemon=True)
            with self._lock:
                self._threads[delivery.webhook_id] = thread
                thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for what is being sent."""
        end_s = time.monotonic() + timeout_s
        with self._lock:
            threads = list(self._threads.values())
        for thread in threads:
            thread.join(max(end_s - time.monotonic(), 0))

    def _try_to_send(self) -> bool:
        try:
            self.send_due()
        except (StoreError, StoreUnavailableError) as error:
            log.warning("webhooks: %s", error)
            return False
        except Exception:  # whatever it is, events are sent for as long as the service runs
            log.exception("webhooks")
            return False
        return True

    def _deliver(self, delivery: Delivery, taken_s: float) -> None:
        try:
            body = event_body(delivery.id, delivery.type, delivery.created_us, delivery.job_id)
            answer = post(
                delivery.url,
                body,
                signed_headers(delivery.secret, delivery.id, int(time.time()), body),
                is_private_allowed=delivery.is_private_allowed,
                timeout_s=self._timeout_s,
                resolve=self._resolve,
                context=self._context,
            )
            is_slow = answer.verdict != "sent" or time.monotonic() - taken_s > SLOW_S
            with self._lock:
                (self._slow.add if is_slow else self._slow.discard)(delivery.webhook_id)
            values = {"event_id": delivery.id, "webhook_id": delivery.webhook_id, "job_id": delivery.job_id}
            values |= {"verdict": answer.verdict, "answer": answer.text, "num_tries": delivery.num_tries + 1}
            log.log(logging.INFO if answer.verdict == "sent" else logging.WARNING, "webhook tried", extra=values)
            self._note(delivery, answer, taken_s + self._lease_s)
        except Exception:  # this event is tried again when its lease is over
            log.exception("webhooks", extra={"event_id": delivery.id})
        finally:
            with self._lock:
                self._threads.pop(delivery.webhook_id, None)
            self._wake.set()

    def _note(self, delivery: Delivery, answer: Answer, end_s: float) -> None:
        """Note an answer, for as long as the event is ours."""
        while True:
            try:
                note(self._database, delivery, answer.verdict, answer.text)
                return
            except StoreUnavailableError as error:
                if time.monotonic() > end_s:
                    log.warning("webhooks: %s; event %s is sent again", error, delivery.id)
                    return
                time.sleep(POLL_S)


def send_test(
    database: Database, webhook_id: str, *, resolve: Resolve = resolved, context: ssl.SSLContext | None = None
) -> Answer | None:
    """Send an event of the type ``webhook.test`` to a target, disabled or not; None if there is no such target."""
    found = Webhooks(database).get_with_secret(webhook_id)
    if found is None:
        return None
    webhook, secret = found
    event_id, now_s = new_event_id(), int(time.time())
    body = event_body(event_id, TEST_TYPE, now_s * 10**6, webhook_id)
    return post(
        webhook.url,
        body,
        signed_headers(secret, event_id, now_s, body),
        is_private_allowed=webhook.is_private_allowed,
        resolve=resolve,
        context=context,
    )


def post(
    url: str,
    body: bytes,
    headers: dict[str, str],
    *,
    is_private_allowed: bool,
    timeout_s: float = TIMEOUT_S,
    resolve: Resolve = resolved,
    context: ssl.SSLContext | None = None,
) -> Answer:
    """Send an event to an address that is found and checked now, and return what came of it. Follows no redirection."""
    end_s = time.monotonic() + timeout_s
    try:
        address = address_of(url, is_private_allowed=is_private_allowed)
    except ValueError as error:
        return Answer(verdict="failed", text=f"blocked: {error}")
    try:
        found = list(resolve(address.host))
    except (OSError, UnicodeError):  # names with labels that are too long, too
        found = []
    if not found:
        return Answer(verdict="failed", text="its name has no address")
    if not all(is_in_reach(each, is_private_allowed=is_private_allowed) for each in found):
        return Answer(verdict="failed", text="blocked: its name leads to an address inside")
    headers = headers | {"Content-Type": "application/json", "User-Agent": f"cogvideox/{cogvideox.__version__}"}
    connection = PinnedConnection(address.host, found[0], end_s, context, port=address.port, is_plain=address.is_plain)
    try:
        connection.request("POST", address.path, body, headers | {"Connection": "close"})
        response = connection.getresponse()
        if time.monotonic() >= end_s:  # what was cut looks like a head that has ended
            raise TimeoutError
        _drain(response)
    except ssl.SSLCertVerificationError as error:
        return Answer(verdict="failed", text=f"its certificate is refused: {error.verify_message}"[:200])
    except (OSError, http.client.HTTPException) as error:
        if time.monotonic() >= end_s:
            return Answer(verdict="failed", text=f"no answer within {timeout_s:g} s")
        return Answer(verdict="failed", text=f"no answer: {type(error).__name__}")
    finally:
        connection.end()
    if 200 <= response.status < 300:
        return Answer(verdict="sent", text=f"HTTP {response.status}")
    is_gone = response.status == http.client.GONE
    return Answer(verdict="gone" if is_gone else "failed", text=f"HTTP {response.status}")


def _drain(response: http.client.HTTPResponse) -> None:
    """Read what was said, which nobody needs: some servers take it for an error if it is not read."""
    try:
        response.read(MAX_ANSWER_BYTES)
    except (OSError, http.client.HTTPException):
        pass
    finally:
        response.close()
