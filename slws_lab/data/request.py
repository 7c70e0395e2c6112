"""What a recipe asks of a data set: which one, where it lies, how large its images are, how it is split."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from slws_lab.errors import UserError

VAL_RULES = ("given", "cut")


@dataclass(frozen=True)
class Request:
    """A data set as a recipe names it.

    Attributes:
        name: One of `sources.NAMES`, or `hfds/NAME` or `wds/NAME`.
        path: Folder with the data; `~` and `$VARS` are expanded, a relative one starts at `root`. None where the set needs no
            folder (digits) or finds its own (hfds).
        root: Folder that relative paths start at; None is the current one.
        size: Height, and width, of the images that a model sees, in pixels; None is the set's own, 224 where it has none.
        channels: 1 (grey) or 3 (RGB); None is the set's own, 3 where it has none.
        val_fraction: Share of the train samples that becomes val where val is cut from train.
        val: given takes the set's own val where it has one and cuts it otherwise; cut always cuts, and a given val then serves as
            test if there is no test.
        label_fraction: Share of each class of the train split that is kept, after val was cut; 1 keeps all.
        mean: Mean of each channel, pixels from 0 to 1; None computes it from train for small sets, ImageNet's otherwise.
        std: Standard deviation of each channel, likewise.
    """

    name: str
    path: str | None = None
    root: Path | None = None
    size: int | None = None
    channels: int | None = None
    val_fraction: float = 0.2
    val: str = "given"
    label_fraction: float = 1.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def checked(self) -> Request:
        """Return itself.

        Raises:
            UserError: A value is out of its range.
        """
        if not 0 < self.val_fraction < 1:
            raise UserError(
                f"val_fraction = {self.val_fraction}", where="val_fraction", allowed="a share above 0 and below 1"
            )
        if not 0 < self.label_fraction <= 1:
            given = f"label_fraction = {self.label_fraction}"
            raise UserError(given, where="label_fraction", allowed="a share above 0, at most 1")
        if self.size is not None and self.size < 1:
            raise UserError(f"size = {self.size}", where="size", allowed="a number of pixels, at least 1")
        for name, allowed in (("channels", (None, 1, 3)), ("val", VAL_RULES)):
            if getattr(self, name) not in allowed:
                choice = ", ".join(str(one) for one in allowed if one)
                raise UserError(f"{name} = {getattr(self, name)!r}", where=name, allowed=choice)
        if self.std is not None and min(self.std, default=0) <= 0:
            raise UserError(f"std = {self.std}", where="std", allowed="one number above 0 for each channel")
        return self

    def folder(self) -> Path:
        """Return the folder that holds the data.

        Raises:
            UserError: No path is given, or there is no folder at it.
        """
        if self.path is None:
            raise UserError(
                f"data set {self.name} needs a path", where="path", todo="set `path` to the folder that holds it"
            )
        path = (self.root or Path()) / Path(os.path.expandvars(self.path)).expanduser()
        if "$" in str(path):
            raise UserError(f"the path {self.path} names a variable that is not set", where="path",
                            todo="set it in the environment, or write the folder itself")  # fmt: skip
        if not path.is_dir():
            found = "is not a folder" if path.exists() else "does not exist"
            todo = f"set `path` to the folder that holds data set {self.name}"
            raise UserError(f"{path} {found}", where="path", todo=todo)
        return path
