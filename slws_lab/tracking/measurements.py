"""The one list of what measures time, memory, place and attempt: two executions of a run may differ in these and in no other."""

MEASUREMENTS = (
    "attempt", "attempts", "resumes", "started", "finished", "seconds", "train/seconds", "train/images_per_s", "train/peak_memory_mb",
    "host", "device",
)  # fmt: skip
