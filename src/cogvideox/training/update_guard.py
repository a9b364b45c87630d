"""Whether an update is applied: not one from a broken batch, and not one from a sudden spike of the gradient."""

import math
import statistics
from collections import deque
from typing import Any

NUM_NORMS_BEFORE_SPIKES = 20
"""Fewer norms tell too little of what is usual; the first steps of a run have large ones."""


class UpdateGuard:
    """Refuses updates whose loss or gradient norm is not finite or whose norm is far above the usual.

    ``max_ratio`` bounds the norm in medians of the last ``window`` accepted ones; more than ``max_skipped`` refusals in
    a row end the run. It reads nothing else, so processes that give it equal numbers decide alike, and a resumed run
    decides as an uninterrupted one.
    """

    def __init__(self, max_ratio: float = 8.0, window: int = 100, max_skipped: int = 20) -> None:
        if max_ratio <= 1 or window < 1 or max_skipped < 0:
            raise ValueError(
                "max_ratio, window, max_skipped: expected above 1, 1 or more and 0 or more, "
                f"got {max_ratio}, {window} and {max_skipped}"
            )
        self.max_ratio = max_ratio
        self.max_skipped = max_skipped
        self.num_skipped = 0
        """Refused updates of the whole run."""
        self._num_in_a_row = 0
        self._norms: deque[float] = deque(maxlen=window)

    def allows(self, loss: float, gradient_norm: float) -> bool:
        """Return whether to apply the update, and remember it.

        Raises:
            ValueError: more than ``max_skipped`` updates in a row were refused.
        """
        if self._is_usual(loss, gradient_norm):
            self._norms.append(gradient_norm)
            self._num_in_a_row = 0
            return True
        self.num_skipped += 1
        self._num_in_a_row += 1
        if self._num_in_a_row > self.max_skipped:
            raise ValueError(
                f"{self._num_in_a_row} updates in a row were refused, the last for a loss of {loss:.4g} and a gradient "
                f"norm of {gradient_norm:.4g} (usual: {self._usual_norm():.4g}): lower the learning rate and start the "
                "run again; it goes on from the last saved state"
            )
        return False

    def forget(self) -> None:
        """Learn anew what is usual, because something else is trained on from here."""
        self._norms.clear()

    def _is_usual(self, loss: float, gradient_norm: float) -> bool:
        if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
            return False
        if len(self._norms) < min(NUM_NORMS_BEFORE_SPIKES, self._norms.maxlen or 0):
            return True
        return gradient_norm <= self.max_ratio * self._usual_norm()

    def _usual_norm(self) -> float:
        return statistics.median(self._norms) if self._norms else math.nan

    def state_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"norms": list(self._norms), "num_skipped": self.num_skipped, "num_in_a_row": self._num_in_a_row}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._norms.clear()
        self._norms.extend(state["norms"])
        self.num_skipped = int(state["num_skipped"])
        self._num_in_a_row = int(state["num_in_a_row"])
