"""Metrics on disk: one JSON line per epoch, and TensorBoard events beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from rtmdet_lab.errors import StorageError
from rtmdet_lab.files import patiently, write_atomic


class MetricsLog:
    """Appends epoch records to ``metrics.jsonl`` and to TensorBoard event files in ``tensorboard/``."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "metrics.jsonl"
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

    def forget_after(self, step: int, history: Sequence[dict[str, Any]] = ()) -> None:
        """Removes what a killed run logged after the state it is resumed from, and adds what it had no time to log.

        Args:
            history: the records of all epochs up to ``step``.
        """
        self._purge_step = step + 1
        logged = set()
        if self.path.exists():
            kept = [line for line in self.path.read_text(errors="replace").splitlines() if _step_of(line) <= step]
            write_atomic(self.path, "".join(line + "\n" for line in kept).encode())
            logged = {_step_of(line) for line in kept}
        missing = [record for record in history if record["step"] not in logged]
        if missing:
            self._purge_step = min(record["step"] for record in missing)
        for record in missing:
            self.write(record)

    def write(self, record: dict[str, Any]) -> None:
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

    def _write_events(self, record: dict[str, Any]) -> None:
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


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):  # the line a kill cut short
        return float("inf")
