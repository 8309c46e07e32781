"""Metrics on disk: one JSON line per epoch, and TensorBoard events beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from rtmdet_lab.core.errors import StorageError
from rtmdet_lab.core.file_schema import EpochRecord, epoch_problem
from rtmdet_lab.core.files import patiently, require_plain, write_atomic

LOG_NAME = "metrics.jsonl"


class MetricsLog:
    """Appends epoch records to ``metrics.jsonl`` and to TensorBoard event files in ``tensorboard/``."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOG_NAME
        self.events = folder / "tensorboard"
        self._writer: Any = None
        self._purge_step: int | None = None

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._writer is not None:
            with suppress(OSError):  # a full disk, told already; every epoch is in metrics.jsonl
                self._writer.close()
            self._writer = None

    def forget_after(self, step: int, history: Sequence[EpochRecord] | None = None) -> None:
        """Removes what a killed run logged after the state it is resumed from, and adds what it had no time to log.

        Args:
            history: the records of all finished epochs. A state from before a validation has the step of an epoch that
                was logged after it: without this, that epoch would be there twice.
        """
        finished = {record["step"]: record for record in history or ()}
        steps: set[int] = set()
        if self.path.exists():
            logged = [
                record
                for record in read_log(self.path)
                if record["step"] <= step and (history is None or record["step"] in finished)
            ]
            steps = {record["step"] for record in logged}
            write_atomic(self.path, "".join(json.dumps(record) + "\n" for record in logged).encode())
        missing = [record for number, record in finished.items() if number not in steps]
        # TensorBoard forgets all from here on.
        self._purge_step = min([int(max(steps, default=-1)) + 1, step + 1, *(record["step"] for record in missing)])
        for record in missing:
            self.write(record)

    def write(self, record: EpochRecord) -> None:
        """Appends one epoch; raises StorageError where there is no space."""
        line = json.dumps(record) + "\n"
        try:
            patiently(lambda: self._append(line))
        except OSError as error:
            needed = f"about {len(line)} bytes are needed"
            raise StorageError(f"cannot write {self.path} ({error.strerror}): {needed}, then go on with --resume") from error
        try:
            self._write_events(record)
        except OSError as error:
            raise StorageError(
                f"cannot write TensorBoard's files in {self.events} ({error.strerror or error}): free some KiB, then go on "
                "with --resume"
            ) from error

    def _append(self, line: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(line)

    def _write_events(self, record: EpochRecord) -> None:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(self.events, purge_step=self._purge_step)
        step = record["step"]
        self._writer.add_scalar("lr", record["lr"], step)
        self._writer.add_scalar("images_per_s", record["images_per_s"], step)
        for group in ("losses", "metrics"):
            for name, value in record.get(group, {}).items():
                self._writer.add_scalar(f"{group}/{name}", value, step)
        self._writer.flush()


def read_log(path: Path) -> list[EpochRecord]:
    """Returns the epochs a run logged, without lines that a kill cut short or that are no epoch's.

    Raises:
        OSError: the file cannot be read.
        DataError: it is a device or pipe.
    """
    require_plain(path, "log")
    records = []
    for line in path.read_text(errors="replace").splitlines():
        with suppress(ValueError, RecursionError):
            record = json.loads(line)
            if epoch_problem(record) is None:
                records.append(record)
    return records
