"""FiftyOne's database is killed while a data set is made: one sentence, and the next call makes the same data set."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from made_database import MISSING, REASON, free_port
from made_sets import assert_one_sentence

from rtmdet_lab.browse.database import mongod_path

SUPPORT = Path(__file__).parents[1] / "support"
IMAGES = 40
# Puts a run into a data set, kills the process of that number when the first images are in, and prints what is there.
PROGRAM = f"""
import json, os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {str(SUPPORT)!r})
from made_sources import made_source
from rtmdet_lab.browse import dataset as module
from rtmdet_lab.browse.database import DatabaseError

module.BATCH = 10

folder, name, victim = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
source = made_source(folder, count={IMAGES})

def progress(done, total):
    if victim and done < total:
        os.kill(victim, signal.SIGKILL)
        time.sleep(1)

try:
    dataset, notes = module.put([source], name, progress)
except DatabaseError as error:
    print(error, file=sys.stderr)
    raise SystemExit(2)
fields = sorted(one for one in dataset.get_field_schema() if one not in ("id", "created_at", "last_modified_at", "_id"))
counts = {{str(one["image_id"]): {{field: str(len(one[field].detections)) for field in fields
          if hasattr(one[field], "detections")}} for one in dataset}}
print(json.dumps({{"fields": fields, "counts": counts, "notes": notes, "views": sorted(dataset.list_saved_views())}}))
"""


@contextmanager
def server(folder: Path, port: int) -> Iterator[subprocess.Popen]:
    """Runs a database on the files of ``folder``."""
    folder.mkdir(exist_ok=True)
    command = [mongod_path(), "--dbpath", folder, "--logpath", folder / "log", "--port", port, "--nounixsocket"]
    command += ["--bind_ip", "127.0.0.1", "--wiredTigerCacheSizeGB", "0.25"]
    process = subprocess.Popen([str(one) for one in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(240):
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.25)
        yield process
    finally:
        process.terminate()
        process.wait(30)


def put(folder: Path, port: int, name: str, victim: int = 0) -> subprocess.CompletedProcess:
    address = f"mongodb://127.0.0.1:{port}/?serverSelectionTimeoutMS=3000"
    environment = {**os.environ, "FIFTYONE_DATABASE_URI": address, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, str(folder), name, str(victim)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)


@pytest.mark.slow
@pytest.mark.skipif(MISSING, reason=REASON)
def test_killed_database_is_a_sentence_and_the_next_call_makes_the_same_data_set(tmp_path):
    files, port = tmp_path / "database", free_port()
    with server(files, port) as database:
        done = put(tmp_path / "data", port, "whole")
        assert done.returncode == 0, done.stderr
        whole = json.loads(done.stdout.splitlines()[-1])
        assert len(whole["counts"]) == IMAGES
        done = put(tmp_path / "data", port, "killed", database.pid)
        assert database.wait(30) == -signal.SIGKILL
        assert done.returncode == 2, done.stderr
        assert_one_sentence(done.stderr.strip().splitlines()[-1], "database has ended", "call this again")
        assert "Traceback" not in done.stderr
    with server(files, port):
        done = put(tmp_path / "data", port, "killed")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1]) == whole
        assert json.loads(put(tmp_path / "data", port, "whole").stdout.splitlines()[-1]) == whole  # finished before
