"""Whether MLflow can be opened at an address: briefly, and before MLflow itself, which tries a database for minutes.

No message repeats the address itself: a database's may hold a password.
"""

import os
import socket
import sqlite3
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

_TIMEOUT_S = 5.0
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


class CannotBeOpened(Exception):
    """Why, and what to do, in one line."""


def check(uri: str) -> None:
    """Raise CannotBeOpened where MLflow would fail at an address."""
    if uri.startswith(("http://", "https://")):
        _check_server(uri)
    else:
        check_database(uri)


def check_database(uri: str) -> None:
    """The same of a database; a server is left alone."""
    kind = urlsplit(uri).scheme.partition("+")[0]
    if kind != "sqlite" and kind not in _PORTS:
        return
    _check_driver(uri)
    if kind == "sqlite":
        _check_file(uri)
    else:
        _check_port(uri, _PORTS[kind])


def _check_server(uri: str) -> None:
    server = f"the MLflow server {urlsplit(uri).netloc.rpartition('@')[2]}"
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=_TIMEOUT_S).close()
    except urllib.error.HTTPError:
        return
    except HTTPException as error:
        reason = f"{type(error).__name__}: the server there does not speak HTTP"
        raise CannotBeOpened(f"{server} does not answer there ({reason}); check the address") from None
    except (OSError, ValueError) as error:
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise CannotBeOpened(f"{server} is out of reach ({reason:.100}); start it or change tracking.uri") from None


def _check_file(uri: str) -> None:
    from sqlalchemy.engine import make_url

    named = make_url(uri).database
    if not named or named == ":memory:":
        raise CannotBeOpened("names no file, and a database in memory is lost with the process; give sqlite:///FILE")
    file = Path(named)
    if not file.exists():
        if not file.parent.is_dir() or not os.access(file.parent, os.W_OK):
            raise CannotBeOpened(f"{file.parent} is not a writable folder; create it, or give another")
        return
    try:
        with sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=_TIMEOUT_S) as opened:
            opened.execute("SELECT count(*) FROM sqlite_master").fetchone()
        opened.close()
    except sqlite3.Error as error:
        raise CannotBeOpened(
            f"{file} cannot be opened as a database ({error}); move it away, or give another"
        ) from None


def _check_driver(uri: str) -> None:
    from sqlalchemy.engine import make_url  # comes with MLflow; its import takes a while

    try:
        make_url(uri).get_dialect().import_dbapi()
    except ImportError as error:
        what = error.name or "a module"
        raise CannotBeOpened(
            f"needs {what}, which is not in the driver environment; give sqlite:///FILE, or the address of a server"
        ) from None
    except Exception as error:
        raise CannotBeOpened(
            f"is not the address of a database ({type(error).__name__}); give sqlite:///FILE"
        ) from None


def _check_port(uri: str, usual: int) -> None:
    address = urlsplit(uri)
    if not address.hostname:
        return
    try:
        socket.create_connection((address.hostname, address.port or usual), timeout=_TIMEOUT_S).close()
    except OSError as error:
        raise CannotBeOpened(
            f"no database answers at {address.hostname} ({error}); start it, or give another"
        ) from None
