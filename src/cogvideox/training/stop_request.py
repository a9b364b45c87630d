"""Ctrl-C and SIGTERM as a wish that is read between steps."""

import signal
import threading
from types import FrameType


class StopRequest:
    """Notes SIGINT and SIGTERM while it is open; a second SIGINT raises KeyboardInterrupt at once.

    Handlers are Python's only in the main thread: elsewhere nothing is changed. A signal that is ignored, as SIGINT is
    under ``nohup``, stays so.
    """

    def __init__(self) -> None:
        self.is_made = False
        self._previous: dict[int, signal.Handlers | object] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.is_made and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.is_made = True

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]
        self._previous.clear()
