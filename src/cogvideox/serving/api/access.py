"""Who a request is from, and what that one may do."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any

from cogvideox.serving.errors import ApiError
from cogvideox.serving.keys import MAX_KEY_LENGTH, SCOPES, KeyRing, Scope

LOCAL_OWNER = "local"
"""Whose all jobs are if no keys are asked for."""
COOKIE = "cogvideox_session"
WINDOW_S = 60.0
MAX_METERS = 10_000


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who sends a request."""

    owner: str
    key_id: str | None
    scopes: tuple[Scope, ...]


LOCAL_CALLER = Caller(owner=LOCAL_OWNER, key_id=None, scopes=SCOPES)


class Access:
    """Knows callers by their keys."""

    def __init__(self, keys: KeyRing | None, max_requests_per_minute: int) -> None:
        """Ask for keys of a ring; None lets everybody in."""
        self._keys = keys
        self._max_requests = max_requests_per_minute
        self._lock = threading.Lock()
        self._meters: dict[str, tuple[float, int]] = {}

    def close(self) -> None:
        """Note which keys were used."""
        if self._keys is not None:
            self._keys.close()

    @property
    def requires_key(self) -> bool:
        """Whether callers need a key."""
        return self._keys is not None

    def caller(self, headers: Mapping[str, str], scope: Scope) -> Caller:
        """Return who sends a request, and count it. Raises ApiError if nobody we know, or who may not do that now."""
        caller = self.known_caller(headers, scope)
        self._count(caller.key_id or LOCAL_OWNER)
        return caller

    def known_caller(self, headers: Mapping[str, str], scope: Scope) -> Caller:
        """Return who a request is from that goes on. Raises ApiError if nobody we know, or who may not do that."""
        if self._keys is None:
            return LOCAL_CALLER
        caller = self.caller_of_key(key_of(headers))
        if scope not in caller.scopes and "admin" not in caller.scopes:
            raise ApiError("forbidden", f"this key may not do that: it lacks the scope {scope}")
        return caller

    def caller_of_key(self, text: str) -> Caller:
        """Return whose a key is. Raises ApiError if it is none."""
        key = None if self._keys is None else self._keys.verify(text)
        if key is None:
            told = "this key is not known" if text else "expected a key: Authorization: Bearer KEY"
            raise ApiError("unauthorized", told, headers={"www-authenticate": "Bearer"})
        return Caller(owner=key.owner, key_id=key.id, scopes=key.scopes)

    def _count(self, name: str) -> None:
        if self._max_requests == 0:
            return
        now_s = time.monotonic()
        with self._lock:
            begun_s, number = self._meters.get(name, (now_s, 0))
            if now_s - begun_s >= WINDOW_S:
                begun_s, number = now_s, 0
            if len(self._meters) > MAX_METERS:
                self._meters.clear()
            self._meters[name] = begun_s, number + 1
        if number >= self._max_requests:
            wait_s = max(int(begun_s + WINDOW_S - now_s) + 1, 1)
            raise ApiError("rate_limited", f"try again in {wait_s} s", headers={"retry-after": str(wait_s)})


def key_of(headers: Mapping[str, str]) -> str:
    """Return the key of a request, from its header or the page's cookie; empty without. Addresses are not looked at."""
    kind, _, text = headers.get("authorization", "").partition(" ")
    if kind:
        return text.strip()[: MAX_KEY_LENGTH + 1] if kind.lower() == "bearer" else ""
    try:
        cookies: Any = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return cookies[COOKIE].value[: MAX_KEY_LENGTH + 1] if COOKIE in cookies else ""


def session_cookie(key: str, *, is_secure: bool) -> str:
    """Return the header that gives a browser its key, or takes it away if it is empty."""
    age = "" if key else "; Max-Age=0"
    return f"{COOKIE}={key}; HttpOnly; SameSite=Strict; Path=/{age}{'; Secure' if is_secure else ''}"
