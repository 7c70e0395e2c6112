"""Tracking: run folders and their journals are the truth, MLflow is their mirror. Training never talks to MLflow."""

from slws_lab.tracking import journal, provenance, starts
from slws_lab.tracking.claim import Claim, is_held
from slws_lab.tracking.compare import Difference, differences
from slws_lab.tracking.files import read_json, write_bytes, write_json, write_text
from slws_lab.tracking.folder import FINAL, Attempt, RunFolder, Workspace
from slws_lab.tracking.measurements import MEASUREMENTS
from slws_lab.tracking.record import RunRecord, record
from slws_lab.tracking.records import records

__all__ = [
    "FINAL", "MEASUREMENTS", "Attempt", "Claim", "Difference", "RunFolder", "RunRecord", "Workspace", "differences", "is_held", "journal",
    "provenance", "read_json", "record", "records", "starts", "write_bytes", "write_json", "write_text",
]  # fmt: skip
