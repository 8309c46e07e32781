"""A database of its own for tests of browse/: a mongod in a temporary folder, named by FIFTYONE_DATABASE_URI.

FiftyOne's own way of starting one would attach to the user's if that is running.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rtmdet_lab.browse.database import mongod_path

MISSING = not mongod_path().is_file()
REASON = "FiftyOne's database program is not installed: make install"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def own_database() -> Iterator[str]:
    """Starts a server and yields its address; ends it and deletes its files."""
    with tempfile.TemporaryDirectory(prefix="mongo") as folder:
        port = free_port()
        log = Path(folder) / "log"
        command = [mongod_path(), "--dbpath", folder, "--logpath", log, "--port", str(port), "--nounixsocket"]
        command += ["--bind_ip", "127.0.0.1", "--wiredTigerCacheSizeGB", "0.25"]
        server = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for _ in range(240):
                assert server.poll() is None, log.read_text()[-2000:]
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.25)
            yield f"mongodb://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(30)


@contextlib.contextmanager
def used_here() -> Iterator[str]:
    """Like :func:`own_database`, and this process's FiftyOne uses it."""
    os.environ.setdefault("FIFTYONE_LOGGING_LEVEL", "ERROR")
    import fiftyone
    import fiftyone.core.odm.database as database

    before = os.environ.get("FIFTYONE_DATABASE_URI"), fiftyone.config.database_uri
    with own_database() as address:
        database._disconnect()  # from that of another test, which may be in use further on
        os.environ["FIFTYONE_DATABASE_URI"] = fiftyone.config.database_uri = address
        try:
            yield address
        finally:
            database._disconnect()
            os.environ.pop("FIFTYONE_DATABASE_URI")
            if before[0]:
                os.environ["FIFTYONE_DATABASE_URI"] = before[0]
            fiftyone.config.database_uri = before[1]
