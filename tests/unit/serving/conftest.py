import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from job_store_model import Clock
from postgres_server import PostgresServer, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL; tests of it are skipped where it is not installed."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def quick_folder() -> Iterator[Path]:
    """A folder in memory if there is one: waiting for disks takes most of the time of a store's tests."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, quick_folder: Path) -> str:
    """A place for a new store, in both kinds of database."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres").new_database()
    return f"sqlite:///{quick_folder}/jobs.sqlite3"
