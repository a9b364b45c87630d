"""Calls in threads, whose refusals hold nothing of what they were about."""

from collections.abc import Callable
from typing import Any

import anyio.to_thread
from anyio import CapacityLimiter

from cogvideox.serving.errors import ApiError


async def in_thread(call: Callable[..., Any], *arguments: Any, limiter: CapacityLimiter) -> Any:
    """Call what waits or computes in a thread, of which a limiter lets so many run.

    A refusal comes without the place where it was made: that would keep a whole body in memory, until the garbage is
    collected, as the future that anyio waits for is part of a circle with it.
    """
    result, refusal = await anyio.to_thread.run_sync(_caught, call, arguments, limiter=limiter)
    if refusal is None:
        return result
    try:
        raise refusal
    finally:
        refusal = None  # nor is this call part of such a circle


def _caught(call: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, ApiError | None]:
    try:
        return call(*arguments), None
    except ApiError as error:
        error.__context__ = None
        return None, error.with_traceback(None)
