"""A Ray cluster on this machine for one study, as a command: it lasts until its standard input closes, so as long as its parent.

Ray's own guard of an orphaned cluster ends the whole process group, which may be a shell script's; here it stands in one of its own.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from typing import Any

import ray

from slws_lab.launch.scratch import own_folder

STORE_BYTES = 100 * 2**20


def main(has: dict[str, Any]) -> None:
    """Start the cluster, print its address, and end it when the parent is gone.

    Args:
        has: What the node has: CPU, GPU, memory (bytes).
    """
    folder = own_folder("slws-ray", os.environ.get("RAY_TMPDIR"))
    try:
        context: Any = ray.init(
            address="local", num_cpus=has["CPU"], num_gpus=has["GPU"], _memory=has["memory"], include_dashboard=False,
            object_store_memory=STORE_BYTES, log_to_driver=False, logging_level=logging.ERROR, _temp_dir=str(folder),
        )  # fmt: skip
        sys.stdout.write(context.address_info["gcs_address"] + "\n")
        sys.stdout.flush()
        while os.read(sys.stdin.fileno(), 1):
            pass
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
