"""``python -m cogvideox`` is the ``cogvideox`` command."""

from cogvideox.cli import main

main()
