"""The database: SQLite by default, PostgreSQL by URL, one transaction per `with`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Insert, create_engine, event, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from offchain.config import BallastError
from offchain.store.models import SCHEMA, Base, Schema

MEMORY = "sqlite://"
"""A database that lives and dies with the process."""


class Database:
    """A store of events, epochs, signed slots and intents.

    Parameters
    ----------
    url : str
        SQLAlchemy URL: ``sqlite://`` (in memory), ``sqlite:///folder/file.sqlite``,
        ``postgresql+psycopg://user:password@host/name``.

    Raises
    ------
    BallastError
        The URL is not one, its driver is not installed, the database does not open or is of another version.
    """

    def __init__(self, url: str = MEMORY) -> None:
        try:
            self.engine = _engine(url)
            Base.metadata.create_all(self.engine)
        except (ArgumentError, NoSuchModuleError) as error:
            raise BallastError(f"{error}; give a database URL such as sqlite:///ballast.sqlite") from error
        except ModuleNotFoundError as error:
            raise BallastError(f"database driver {error.name} is not installed: install it, or use SQLite") from error
        except OSError as error:
            raise BallastError(f"the database's folder cannot be made: {error}; check the path") from error
        except OperationalError as error:
            raise BallastError(f"the database does not open: {error.orig}; check URL and permissions") from error
        self._require_schema()

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """A transaction: committed where the block ends, undone where it raises."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def _require_schema(self) -> None:
        try:
            with self.begin() as session:
                found = session.scalar(select(Schema.version))
                if found is None:
                    session.add(Schema(version=SCHEMA))
                    found = SCHEMA
        except IntegrityError:  # another process wrote the row first
            with self.begin() as session:
                found = session.scalar(select(Schema.version))
        if found != SCHEMA:
            raise BallastError(f"the database is of version {found}, this program of {SCHEMA}: use a new database")


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        return create_engine(parsed)
    if parsed.get_backend_name() != "sqlite":
        raise ArgumentError(f"{parsed.get_backend_name()} is not supported")
    if parsed.database in (None, "", ":memory:"):
        engine = create_engine(parsed, poolclass=StaticPool, connect_args={"check_same_thread": False})
    else:
        Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed)

    # sqlite3 opens transactions late and only for some statements; take that over, and take the write lock at once, so
    # that what is read before a write is still true when it is written.
    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")  # a signed slot must survive a power cut
        connection.execute("PRAGMA busy_timeout = 10000")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def insert_once(session: Session, table: type[Base], **values: Any) -> bool:
    """Insert a row unless a unique constraint already holds one; whether a row was written."""
    statement: Insert
    if session.get_bind().dialect.name == "postgresql":
        statement = postgresql.insert(table).values(**values).on_conflict_do_nothing()
    else:
        statement = sqlite.insert(table).values(**values).on_conflict_do_nothing()
    return bool(session.execute(statement).rowcount)  # type: ignore[attr-defined]


def to_json(value: Any) -> str:
    """Canonical JSON of integers, strings, lists and objects; byte strings are tagged. Floats are refused."""
    return json.dumps(_tag(value), sort_keys=True, separators=(",", ":"))


def from_json(text: str) -> Any:
    """What `to_json` was given; tuples come back as lists."""
    return _untag(json.loads(text))


def _tag(value: Any) -> Any:
    if isinstance(value, bytes | bytearray):
        return {"0x": value.hex()}
    if isinstance(value, dict):
        return {str(key): _tag(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_tag(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"{type(value).__name__} {value!r} does not go into the store exactly; give an integer")


def _untag(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"0x"}:
            return bytes.fromhex(value["0x"])
        return {key: _untag(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_untag(item) for item in value]
    return value
