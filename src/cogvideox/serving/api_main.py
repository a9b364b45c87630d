"""The API as the only thing that a process does."""

import os
import socket
import sys

from cogvideox.serving.api.run import run_api
from cogvideox.serving.api.settings import ApiSettings
from cogvideox.serving.process_ties import end_with_parent, settings_from_parent
from cogvideox.settings import build_dataclass


def main() -> int:
    """Be the API of `cogvideox.serving.supervisor`."""
    end_with_parent()  # else a stopped one would hold the port, and take requests of the next one when it goes on
    values = settings_from_parent(lambda: os._exit(0))
    settings = build_dataclass(ApiSettings, values["settings"], where="settings")
    run_api(settings, listener=socket.socket(fileno=values["descriptor"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
