"""Executes a run of `kind: train`: trains it, with its metrics into the journal. Loads torch."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from typing import Any

import torch

from slws_lab.launch import need
from slws_lab.spec import Resources, RunSpec
from slws_lab.tracking import journal, provenance
from slws_lab.tracking.files import writing
from slws_lab.training import Interrupted, Outdated, RankError, RankLost, Surroundings, train
from slws_lab.training.checkpoint import Shelf
from slws_lab.training.surroundings import Unsaved
from slws_lab.worker.holding import ClaimLost, Failed, GoesBack, Hold, Place, Stopped
from slws_lab.worker.model_folder import write_model_folder

log = logging.getLogger(__name__)


def device_of(resources: Resources) -> torch.device:
    """Return where a training computes: on a GPU where there is one and none was declined."""
    return torch.device("cuda" if resources.gpus != 0 and finds_gpu() else "cpu")


def finds_gpu() -> bool:
    """Say whether torch finds a GPU."""
    return torch.cuda.is_available()


class Training:
    """One training. See `holding.Executor`."""

    def __init__(self, hold: Hold, run: RunSpec, place: Place) -> None:
        self._hold, self._run, self._place = hold, run, place
        self._device = device_of(place.resources)

    @property
    def device(self) -> str:
        return torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "cpu"

    def provenance(self) -> dict[str, Any]:
        root = self._place.root
        return provenance.with_files(provenance.gather(root), root, self._run.models)

    @property
    def goes_on(self) -> bool:
        return True

    def execute(self, threads: int) -> dict[str, Any]:
        torch.set_num_threads(threads)
        try:
            return self._train_or_start_over()
        except Interrupted as error:
            raise Stopped from error
        except RankLost as error:
            raise GoesBack(str(error)) from error
        except RankError as error:
            raise Failed(str(error)) from error

    def tidy(self) -> None:
        checkpoint = self._hold.attempt.checkpoint
        with writing(checkpoint):
            Shelf(checkpoint, self._hold.desk).forget()

    def _train_or_start_over(self) -> dict[str, Any]:
        try:
            return self._train()
        except Outdated as error:
            log.warning("%s: starting over", error)
            self._hold.attempt.start_over(self._hold.desk)
            return self._train()

    def _note_need(self) -> None:
        """Note what the run needs of its GPU, for those who pack others beside it; one of several ranks has whole ones."""
        if self._device.type == "cuda" and self._run.train.ranks == 1:
            reserved, peak = torch.cuda.memory_reserved(self._device), torch.cuda.max_memory_reserved(self._device)
            found = need.measure(self.device, self._place.resources, reserved=reserved, peak=peak)
            need.note(self._hold.attempt.path, found, self._hold.desk)

    def _train(self) -> dict[str, Any]:
        """Train the attempt from where it stands to its end.

        Raises:
            ClaimLost: Another process has the attempt.
            NotWritten: The journal or the final weights cannot be written.
        """
        hold, run, place, resources = self._hold, self._run, self._place, self._place.resources
        attempt, claim = hold.attempt, hold.claim
        log.info("%s, attempt %d, on %s", attempt.run_id, attempt.number, self.device)

        def report(epoch: int, metrics: dict[str, float]) -> None:
            hold.pulse.tick()
            if not claim.held():
                raise ClaimLost
            writer.append(epoch, time.time(), metrics)
            if metrics.get("train/stage", 1.0) >= len(run.stages):  # a later stage may need more
                self._note_need()
            log.info("epoch %d: %s", epoch, ", ".join(f"{name} {value:.4g}" for name, value in metrics.items()))

        def should_stop() -> bool:
            if run.train.ranks == 1:  # of several it is asked all the time, whether they work or hang
                hold.pulse.tick()
            if claim.lost:
                raise ClaimLost
            return place.should_stop()

        with journal.Writer(attempt.journal, hold.desk) as writer:
            around = Surroundings(
                attempt.checkpoint, self._device, report, should_stop, resources.scan, place.root,
                workers=resources.workers, resident=resources.resident, grad_checkpointing=resources.grad_checkpointing,
                cuda_graph=resources.cuda_graph, desk=hold.desk, reported=journal.epochs(attempt.journal), tidy=False,
            )  # fmt: skip
            try:
                result = {name: value for name, value in asdict(train(run, around)).items() if value is not None}
            except Unsaved as error:
                with writing(attempt.checkpoint):
                    raise OSError(str(error)) from error
        if result["status"] == "finished":
            write_model_folder(attempt, run, result, place.root, hold.desk)
        return result
