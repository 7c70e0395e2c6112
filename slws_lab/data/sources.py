"""The data sets by name. A new one is a module with `read(request)` and a line in `READERS`, or in `PREFIXES`."""

from __future__ import annotations

from collections.abc import Callable

from slws_lab.data import digits, folder, huggingface, parquet, small, tars
from slws_lab.data.assemble import Source, assemble
from slws_lab.data.dataset import DataSet
from slws_lab.data.request import Request
from slws_lab.errors import UserError, nearest

READERS: dict[str, Callable[[Request], Source]] = {
    digits.NAME: digits.read,
    **dict.fromkeys(small.CLASSES, small.read),
    folder.NAME: folder.read,
    parquet.NAME: parquet.read,
}
PREFIXES: dict[str, Callable[[Request], Source]] = {huggingface.PREFIX: huggingface.read, tars.PREFIX: tars.read}
NAMES = (*READERS, *(f"{prefix}NAME" for prefix in PREFIXES))


def load(request: Request) -> DataSet:
    """Find a data set and its train, val and test splits; no image is decoded but for the statistics of small sets.

    Args:
        request: Which data set, from where, how it is split.

    Raises:
        UserError: The name is unknown, the data cannot be found or used, or a split would be empty.
    """
    request.checked()
    read = READERS.get(request.name) or next((r for p, r in PREFIXES.items() if request.name.startswith(p)), None)
    if read is None:
        raise UserError(
            f"unknown data set '{request.name}'",
            where="name",
            allowed=", ".join(NAMES),
            todo=nearest(request.name, NAMES),
        )
    try:
        return assemble(request, read(request))
    except UserError as error:
        raise error if error.where else error.at("path") from None
