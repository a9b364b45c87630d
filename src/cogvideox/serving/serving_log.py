"""Structured logs: one JSON object a line on standard error, with the ids of requests, jobs and workers."""

import json
import logging
import re
import sys
from datetime import UTC, datetime

_STANDARD = {*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"}


_SECRETS = (
    (re.compile(r"(cogvideox_[0-9a-f]{16})[0-9a-f]{16,}"), r"\1..."),
    (re.compile(r"(://[^\s/:@\"]*:)[^\s@\"]+@"), r"\1***@"),
    (re.compile(r"((?:Bearer|Basic) )[\w.~+/=-]{8,}", re.IGNORECASE), r"\1***"),
    (re.compile(r"(\bpassword=)[^\s&\"]+", re.IGNORECASE), r"\1***"),
)
"""Keys and passwords: nothing of ours writes them, but an error of somebody else's library may."""


class JsonLines(logging.Formatter):
    """Writes a record as one line, however long and of however many lines its text is."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        values = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        values |= {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        if record.exc_info:
            values["trace"] = self.formatException(record.exc_info)
        line = json.dumps(values, default=str)
        for secret, instead in _SECRETS:
            line = secret.sub(instead, line)
        return line


def log_as_json(level: int = logging.INFO) -> None:
    """Send what this package logs to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("cogvideox")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(level)
