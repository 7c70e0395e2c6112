"""The log of an attempt: all log records of its process, without secrets; and its last words when it hangs."""

from __future__ import annotations

import faulthandler
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from slws_lab.launch.launcher import HUNG
from slws_lab.tracking import Attempt, provenance
from slws_lab.tracking.claim import IDLE_S, STEPLESS_S
from slws_lab.tracking.files import writing

ROOT_LOG = logging.getLogger()


class _Redacting(logging.Formatter):
    """Keeps secrets of the environment out of a log, whoever writes them."""

    def format(self, record: logging.LogRecord) -> str:
        return provenance.redacted(super().format(record))


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Send all log records, warnings of libraries included, to the attempt's log file."""
    with writing(path):
        handler = logging.FileHandler(path)
    handler.setFormatter(_Redacting("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.captureWarnings(True)
    ROOT_LOG.addHandler(handler)
    ROOT_LOG.setLevel(logging.INFO)
    try:
        yield
    finally:
        ROOT_LOG.removeHandler(handler)
        with suppress(OSError):  # a full disk takes no log either; what must be kept is written elsewhere
            handler.close()


def end_hung(attempt: Attempt) -> None:
    """End this process at once: its main thread hangs. The log gets what each thread was doing."""
    with suppress(OSError), attempt.log.open("a") as file:  # not by `logging`, whose lock may be what it waits for
        limits = f"nothing was computed for {IDLE_S / 60:g} minutes, or no step ended for {STEPLESS_S / 3600:g} hours"
        file.write(f"this run hangs ({limits}): ending its process, whose threads stand here\n")
        file.flush()
        faulthandler.dump_traceback(file)
    os._exit(HUNG)
