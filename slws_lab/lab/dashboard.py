"""Which storage Optuna's dashboard is opened on: that of a search, or of all searches under studies/ where they share one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from slws_lab.errors import UserError
from slws_lab.lab.project import here, open_workspace
from slws_lab.spec import Study, find_study, load_study

if TYPE_CHECKING:
    from slws_lab.search.storage import Address


def storage_of(search: str | None, workspace: Path | None = None) -> Address:
    """Return the storage of a search, or the one that has all searches which have begun.

    Args:
        search: The search, by path or name; None for all under studies/.
        workspace: The workspace; None for the default.

    Raises:
        UserError: It is no search, there is nothing to show yet, or the searches are in several storages.
    """
    if search is None:
        return _of_all(workspace)
    study = load_study(find_study(search))
    if study.spec.search is None:
        raise UserError(f"study '{study.spec.name}' is no search", where=str(study.source.path),
                        allowed="a study with `search:`", todo="leave --optuna out: MLflow has its runs")  # fmt: skip
    address = _address(study, workspace)
    if not _is_there(address):
        raise UserError(
            f"the search '{study.spec.name}' has not begun", where=str(address.file), todo=f"slws run {search}"
        )
    return address


def _of_all(workspace: Path | None) -> Address:
    root, place = here(workspace)
    studies = [load_study(path) for path in sorted((root / "studies").glob("*.yaml"))]
    found = {study.spec.name: _address(study, workspace) for study in studies if study.spec.search is not None}
    begun = {name: address for name, address in found.items() if _is_there(address)}
    if not begun:
        raise UserError("there is no search to show yet", where=str(place.path), todo="run one first: slws run SEARCH")
    if len({address.text for address in begun.values()}) > 1:
        raise UserError("the searches are in several storages", where=str(root / "studies"), allowed=", ".join(begun),
                        todo="name one: slws ui SEARCH --optuna")  # fmt: skip
    return next(iter(begun.values()))


def _address(study: Study, workspace: Path | None) -> Address:
    from slws_lab.search.storage import Address  # Optuna takes long to load

    return Address.of(study, open_workspace(study.root, workspace))


def _is_there(address: Address) -> bool:
    return address.file is None or address.file.exists()
