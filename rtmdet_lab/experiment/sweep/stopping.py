"""How a worker is stopped: its training saves its state first, so that what it did inside an epoch is not lost."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

PARENT_POLL_S = 1.0
STOPPED = 128 + signal.SIGTERM  # exit code


class KernelStop:
    """Passes SIGTERM on to the kernel of a notebook, and ends this process where no kernel runs.

    The training loop in the kernel answers by saving its state and ending its cell, so papermill writes the notebook as of
    any failed cell; elsewhere the kernel just ends. Kernels live in a session of their own: signals to the worker's process
    group do not reach them.
    """

    def __init__(self) -> None:
        self.asked = False
        self.manager: Any = None  # jupyter_client's, while a notebook runs

    def listen(self, *signals: int) -> None:
        """Takes over the signals, SIGTERM where none is named; call it in the main thread."""
        for signum in signals or (signal.SIGTERM,):
            signal.signal(signum, self._note)

    def follow_parent(self) -> None:
        """Stops this process when the one that started it is gone: nothing trains on behind a sweep that was killed."""
        parent = os.getppid()

        def watch() -> None:
            while os.getppid() == parent:
                time.sleep(PARENT_POLL_S)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=watch, daemon=True).start()

    def manager_class(self) -> type:
        """Returns a class of kernel managers that make themselves known here: papermill creates and ends its own."""
        from jupyter_client.manager import AsyncKernelManager

        stop = self

        class KnownKernelManager(AsyncKernelManager):
            def __init__(self, **options: Any) -> None:
                super().__init__(**options)
                stop.manager = self

        return KnownKernelManager

    def _note(self, signum: int, frame: Any) -> None:
        if self.asked:
            return
        self.asked = True
        kernel = getattr(getattr(self.manager, "provisioner", None), "process", None)
        if kernel is None:
            raise SystemExit(128 + signum)
        kernel.send_signal(signal.SIGTERM)
