"""What tests of the page share: one browser, pages in which nothing may go wrong, a server.

The browser ends with this folder: while it is there, nothing in this thread can run a loop of asyncio of its own.
"""

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from served_page import Pages, Server, started_browser


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    with started_browser() as made:
        yield made


@pytest.fixture
def pages(browser: Any) -> Iterator[Pages]:
    """Nothing goes wrong in them, and nothing breaks the policy of their content."""
    made = Pages(browser)
    yield made
    made.close()
    assert not made.errors


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("served") / "data")
    yield made
    made.kill(signal.SIGTERM)
