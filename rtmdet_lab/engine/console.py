"""What a running training shows: plain lines, a terminal bar, or live curves in a notebook.

Plain lines are the form that survives everywhere (papermill, batch logs); the other two are chosen only where somebody is
looking.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from typing import Protocol, TextIO

from rtmdet_lab.core.escaping import for_html, for_terminal, say
from rtmdet_lab.core.file_schema import EpochRecord as Record

LINE_INTERVAL_S = 5.0


class Reporter(Protocol):
    """Is told what happens; every call is cheap."""

    def start(self, epochs: int, batches: int, first_epoch: int, title: str) -> None: ...
    def step(self, epoch: int, batch: int, losses: dict[str, float], lr: float) -> None: ...
    def validating(self, done: int, total: int) -> None: ...
    def epoch(self, record: Record, history: list[Record]) -> None: ...
    def note(self, message: str) -> None: ...
    def close(self) -> None: ...


class Silent(Reporter):
    """Shows nothing."""


class OnlyNotes(Silent):
    """Shows no progress, but warns of what was left out."""

    def note(self, message: str) -> None:
        warnings.warn(message, stacklevel=3)


class PlainText(Silent):
    """One line every few seconds and one per epoch, with a bar for the whole run and the time left."""

    def __init__(self, stream: TextIO | None = None, interval_s: float = LINE_INTERVAL_S) -> None:
        self.stream = stream
        self.interval_s = interval_s
        self.last = time.monotonic()

    def start(self, epochs: int, batches: int, first_epoch: int, title: str) -> None:
        self.epochs, self.batches, self.first_epoch = epochs, batches, first_epoch
        self.begin = self.last = time.monotonic()
        self.begin_done: float | None = None
        self._print(title)

    def step(self, epoch: int, batch: int, losses: dict[str, float], lr: float) -> None:
        now = time.monotonic()
        if self.begin_done is None:  # a resumed run starts in the middle
            self.begin_done = (epoch + (batch - 1) / self.batches) / self.epochs
        if now - self.last < self.interval_s:
            return
        self.last = now
        done = (epoch + batch / self.batches) / self.epochs
        left = (now - self.begin) / max(done - self.begin_done, 1e-9) * (1 - done)
        terms = "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
        self._print(
            f"{bar(done)} {100 * done:3.0f} %  epoch {epoch + 1}/{self.epochs}  batch {batch}/{self.batches}  {terms}  "
            f"lr {lr:.2e}  {minutes(left)} left"
        )

    def validating(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.last >= self.interval_s:
            self.last = now
            self._print(f"validating: batch {done}/{total}")

    def epoch(self, record: Record, history: list[Record]) -> None:
        self._print(describe(record, self.epochs))

    def note(self, message: str) -> None:
        self._print(f"note: {message}")

    def _print(self, line: str) -> None:
        say(for_terminal(line), file=self.stream)


class TerminalBar(PlainText):
    """A tqdm bar for the whole run; epochs are printed above it."""

    def start(self, epochs: int, batches: int, first_epoch: int, title: str) -> None:
        from tqdm import tqdm

        super().start(epochs, batches, first_epoch, title)
        self.progress = tqdm(
            total=epochs * batches, initial=first_epoch * batches, unit="batch", dynamic_ncols=True, smoothing=0.05
        )

    def step(self, epoch: int, batch: int, losses: dict[str, float], lr: float) -> None:
        self.progress.set_description(f"epoch {epoch + 1}/{self.epochs}", refresh=False)
        self.progress.set_postfix({name: f"{value:.3f}" for name, value in losses.items()}, refresh=False)
        self.progress.update(epoch * self.batches + batch - self.progress.n)

    def validating(self, done: int, total: int) -> None:
        if hasattr(self, "progress"):
            self.progress.set_description(f"validating {done}/{total}")
        else:  # an evaluation on its own: no training was started
            super().validating(done, total)

    def _print(self, line: str) -> None:
        if hasattr(self, "progress"):
            self.progress.write(for_terminal(line))
        else:
            say(for_terminal(line))

    def close(self) -> None:
        if hasattr(self, "progress"):
            self.progress.close()


class LiveCurves(PlainText):
    """Curves that grow while the cell runs, with a progress line beneath; for JupyterLab."""

    def start(self, epochs: int, batches: int, first_epoch: int, title: str) -> None:
        import ipywidgets as widgets
        from IPython.display import display

        self.status, self.notes = widgets.HTML(), widgets.HTML()
        self.curves = widgets.Output()
        self.bar = widgets.FloatProgress(value=0, min=0, max=1, layout=widgets.Layout(width="100%"))
        display(widgets.VBox([self.bar, self.status, self.notes, self.curves]))
        super().start(epochs, batches, first_epoch, title)
        self.interval_s = 0.5

    def step(self, epoch: int, batch: int, losses: dict[str, float], lr: float) -> None:
        self.bar.value = (epoch + batch / self.batches) / self.epochs
        super().step(epoch, batch, losses, lr)

    def epoch(self, record: Record, history: list[Record]) -> None:
        import matplotlib.pyplot as plt
        from IPython.display import display

        from rtmdet_lab.viz.curves import plot_history

        super().epoch(record, history)
        figure = plot_history(history, epochs=self.epochs)
        with self.curves:
            self.curves.clear_output(wait=True)
            display(figure)
        plt.close(figure)

    def note(self, message: str) -> None:
        """Keeps every note below the progress line, which the next line replaces."""
        from html import escape

        if hasattr(self, "notes"):
            self.notes.value += f"<div>note: {escape(message)}</div>"
        else:
            super().note(message)

    def _print(self, line: str) -> None:
        if hasattr(self, "status"):
            self.status.value = f"<code>{for_html(line)}</code>"
        else:
            super()._print(line)


def choose_reporter(kind: str = "auto") -> Reporter:
    """Returns the reporter that suits where the code runs.

    "auto": live curves in an interactive notebook, a bar in a terminal, plain lines elsewhere (papermill, log files).
    Others: "live", "bar", "plain", "silent".
    """
    kinds = {"live": LiveCurves, "bar": TerminalBar, "plain": PlainText, "silent": Silent}
    if kind == "auto":
        if in_interactive_notebook():
            kind = "live"
        else:
            kind = "bar" if sys.stderr.isatty() else "plain"
    return kinds[kind]()


def in_interactive_notebook() -> bool:
    """Whether a person looks at this kernel. Servers name the notebook of a session; papermill's kernels have no name."""
    named = bool(os.environ.get("JPY_SESSION_NAME")) or "VSCODE_PID" in os.environ
    return named and "ipykernel" in sys.modules  # a command started from a cell inherits the name, but is no kernel


def describe(record: Record, epochs: int) -> str:
    """Returns an epoch's record as one line."""
    losses = "  ".join(f"{name} {value:.3f}" for name, value in record["losses"].items())
    metrics = "".join(f"  {name} {record['metrics'][name]:.3f}" for name in list(record.get("metrics", {}))[:2])
    speed = f"{record['images_per_s']:.0f} images/s"
    return f"epoch {record['epoch'] + 1}/{epochs} ({record['stage']})  {losses}{metrics}  {speed}"


def bar(share: float, width: int = 20) -> str:
    """Returns a progress bar of plain characters.

    >>> bar(0.25, 8)
    '[##------]'
    """
    full = int(share * width + 1e-9)
    return "[" + "#" * full + "-" * (width - full) + "]"


def minutes(seconds: float) -> str:
    """Returns a duration as h:mm:ss or m:ss.

    >>> minutes(75), minutes(3700)
    ('1:15', '1:01:40')
    """
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
