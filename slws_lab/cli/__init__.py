"""The `slws` command: parses and prints, nothing else. Importing this imports neither Typer nor the lab."""

from __future__ import annotations

import errno
import gc
import os
import signal
import stat
import sys

OF_THE_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def main() -> None:
    """Run the command: exit 0 complete, 1 failed or missing runs or a failed check, 2 a user's mistake, 130 interrupted."""
    from slws_lab.cli.app import app
    from slws_lab.errors import SlwsError

    gc.set_threshold(
        100_000, 10, 10
    )  # a command makes many objects and few cycles: at 700 a tenth of its time goes into looking for these
    # A scheduler's stop and a lost terminal end a study as cleanly as Ctrl-C.
    for name, handler in ((signal.SIGTERM, signal.default_int_handler), (signal.SIGHUP, _hang_up)):
        if signal.getsignal(name) is not signal.SIG_IGN:  # as nohup asks
            signal.signal(name, handler)
    try:
        app(prog_name="slws")
    except SlwsError as error:
        sys.exit(_say(f"slws: {error}", error.exit_code))
    except OSError as error:
        if error.errno not in OF_THE_PLACE:
            raise
        sys.exit(_say(f"slws: {error}", SlwsError.exit_code))
    except KeyboardInterrupt:
        sys.exit(_say("slws: interrupted", 130))
    except SystemExit as end:
        if end.code == 130:
            _say("slws: interrupted", 130)
        raise


def _hang_up(*_: object) -> None:
    """Stop as by Ctrl-C, and say nothing more to a terminal: it is gone, and would answer by errors."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        if stat.S_ISCHR(os.fstat(stream).st_mode):
            os.dup2(nowhere, stream)
    raise KeyboardInterrupt


def _say(message: str, code: int) -> int:
    from slws_lab.cli.terminal import harmless

    sys.stderr.write(harmless(message) + "\n")
    return code
