"""One package to pytest, so that its browser ends with it."""
