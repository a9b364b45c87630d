"""Refusals of the API: stable codes, the status that each has, and the one form in which they are told."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from cogvideox.serving.job import storable_text

ErrorCode = Literal[
    "invalid_json",
    "unknown_field",
    "missing_prompt",
    "prompt_too_long",
    "prompt_tokens_exceeded",
    "prompt_language_unsupported",
    "invalid_size",
    "invalid_seconds",
    "invalid_param",
    "unsupported_media_type",
    "media_too_large",
    "media_decode_failed",
    "remote_fetch_disabled",
    "remote_fetch_blocked",
    "exceeds_device_memory",
    "idempotency_key_reused",
    "queue_full",
    "rate_limited",
    "quota_exceeded",
    "unauthorized",
    "forbidden",
    "not_found",
    "method_not_allowed",
    "range_not_satisfiable",
    "video_not_ready",
    "video_failed",
    "video_expired",
    "canceled",
    "worker_lost",
    "out_of_memory",
    "timeout",
    "storage_full",
    "unsupported",
    "not_ready",
    "internal",
]

STATUS: dict[ErrorCode, int] = {
    "invalid_json": 400,
    "unknown_field": 400,
    "missing_prompt": 400,
    "prompt_too_long": 400,
    "prompt_tokens_exceeded": 400,
    "prompt_language_unsupported": 400,
    "invalid_size": 400,
    "invalid_seconds": 400,
    "invalid_param": 400,
    "unsupported_media_type": 415,
    "media_too_large": 413,
    "media_decode_failed": 400,
    "remote_fetch_disabled": 400,
    "remote_fetch_blocked": 400,
    "exceeds_device_memory": 400,
    "idempotency_key_reused": 422,
    "queue_full": 429,
    "rate_limited": 429,
    "quota_exceeded": 429,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "range_not_satisfiable": 416,
    "video_not_ready": 409,
    "video_failed": 409,
    "video_expired": 410,
    "canceled": 409,
    "worker_lost": 409,
    "out_of_memory": 409,
    "timeout": 408,
    "storage_full": 503,
    "unsupported": 501,
    "not_ready": 503,
    "internal": 500,
}

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 409: "conflict_error"}
_TYPES |= {429: "rate_limit_error"}
MAX_MESSAGE_LENGTH = 500


class ApiError(Exception):
    """A refusal, as the client gets it."""

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        param: str | None = None,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Refuse.

        Args:
            code: stable; clients translate it.
            message: in English, for people; no paths and no traces.
            param: the field that is wrong.
            status: of HTTP, if it is not the code's usual one.
            headers: to answer with.
        """
        super().__init__(message)
        self.code: ErrorCode = code
        self.message = message
        self.param = param
        self.status = STATUS[code] if status is None else status
        self.headers = dict(headers or {})


def error_body(code: str, message: str, *, status: int, param: str | None = None) -> bytes:
    """Return the one form of refusals as JSON in ASCII, whatever the message was made of."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    shown = param if param is None else storable_text(param, 100)
    error = {"message": storable_text(message, MAX_MESSAGE_LENGTH), "type": kind, "param": shown, "code": code}
    return json.dumps({"error": error}).encode()


def describe(value: Any, max_length: int = 60) -> str:
    """Return a client's value for a message, short."""
    shown = repr(value)
    return shown if len(shown) <= max_length else f"{shown[:max_length]}..."
