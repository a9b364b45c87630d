"""The ``cogvideox`` command: one file per verb, heavy imports inside the verb, so that ``--help`` is fast."""

from cogvideox.cli.main import main

__all__ = ["main"]
