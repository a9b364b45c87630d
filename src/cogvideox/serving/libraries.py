"""Optional libraries of the serving side, each imported when it is used, with a message that says what to install."""

from typing import Any

from cogvideox.errors import MissingPackageError

_NEEDED = "{} needs {}: pip install 'cogvideox[serve]' (or {})"


def sqlalchemy() -> Any:
    """Return SQLAlchemy with its PostgreSQL and SQLite dialects."""
    try:
        import sqlalchemy
        import sqlalchemy.dialects.postgresql
        import sqlalchemy.dialects.sqlite
        import sqlalchemy.event
        import sqlalchemy.exc
    except ImportError:
        raise _missing("the job store", "SQLAlchemy", "sqlalchemy") from None
    return sqlalchemy


def alembic() -> Any:
    """Return Alembic, which brings the tables of a job store up to date."""
    try:
        import alembic
        import alembic.autogenerate
        import alembic.command
        import alembic.config
        import alembic.context
        import alembic.migration
        import alembic.op
        import alembic.script
    except ImportError:
        raise _missing("the job store", "Alembic", "alembic") from None
    return alembic


def psycopg() -> Any:
    """Return psycopg, which speaks to PostgreSQL."""
    try:
        import psycopg
    except ImportError:
        raise _missing("a job store in PostgreSQL", "psycopg", "'psycopg[binary]'") from None
    return psycopg


def fastapi() -> Any:
    """Return FastAPI with its kinds of responses."""
    try:
        import fastapi
        import fastapi.responses
    except ImportError:
        raise _missing("the server", "FastAPI", "fastapi") from None
    return fastapi


def python_multipart() -> Any:
    """Return python-multipart, which takes bodies of forms apart."""
    try:
        import python_multipart
    except ImportError:
        raise _missing("the server", "python-multipart", "python-multipart") from None
    return python_multipart


def uvicorn() -> Any:
    """Return uvicorn, which serves applications."""
    try:
        import uvicorn
        import uvicorn.protocols.http.h11_impl
    except ImportError:
        raise _missing("the server", "uvicorn", "uvicorn") from None
    return uvicorn


def prometheus_client() -> Any:
    """Return prometheus-client, which writes metrics."""
    try:
        import prometheus_client
        import prometheus_client.core
    except ImportError:
        raise _missing("the page of metrics", "prometheus-client", "prometheus-client") from None
    return prometheus_client


def ray() -> Any:
    """Return ray, which places workers on machines."""
    try:
        import ray
    except ImportError:
        raise _missing("placing workers with Ray", "ray", "ray") from None
    return ray


def _missing(what: str, library: str, packages: str) -> MissingPackageError:
    return MissingPackageError(_NEEDED.format(what, library, packages))
