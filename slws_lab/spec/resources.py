"""Resources: where a run goes and what it may use there. Nothing of it changes a number, or enters an id."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from slws_lab.spec.recipe import Name, Spec

SET_BY_LAUNCHER = (
    "account", "array", "constraint", "cpus-per-task", "error", "gpus", "gpus-per-node", "gpus-per-task", "job-name",
    "mem", "no-requeue", "nodes", "ntasks", "ntasks-per-node", "open-mode", "output", "partition", "qos", "requeue", "signal",
    "time", "wrap",
)  # fmt: skip  # options of sbatch that have a field of their own, or that nobody else may set
Option = Annotated[str, Field(pattern=r"^[!-&(-~]+$", max_length=500)]  # one printable word without single quotes


class SlurmSpec(Spec):
    """What is asked of Slurm for a job, which executes one run after another until none is free."""

    partition: Option | None = Field(None, description="Partition; null is the cluster's default.")
    account: Option | None = Field(None, description="Account that is charged.")
    qos: Option | None = Field(None, description="Quality of service.")
    constraint: Option | None = Field(None, description="Features that a node must have, e.g. 'a100|h100'.")
    gpu_type: Option | None = Field(None, description="Type of GPU, as the cluster names it; null is any.")
    cpus_per_task: int | None = Field(
        None, ge=1, le=4096, description="Cores a job; null is (threads + workers) x ranks of the run."
    )
    mem: str | None = Field(
        None, pattern=r"^[1-9]\d*[KMGT]?$", description="Memory a job, e.g. 32G; null is the default."
    )
    time: int | None = Field(
        None, ge=10, description="Minutes a job may take, after which Slurm starts it again where it stopped; "
        "null is `resources.minutes` for each of its runs, else the partition's default.",
    )  # fmt: skip
    array_parallelism: int = Field(8, ge=1, le=10_000, description="Jobs of a study at a time.")
    extra: dict[Annotated[str, Field(pattern="^[a-z][a-z-]*$")], Literal[True] | int | float | Option] = Field(
        default_factory=dict, description="Further options of sbatch by their long names, e.g. {nodelist: node7}; "
        "true for an option without a value.",
    )  # fmt: skip

    @field_validator("extra")
    @classmethod
    def _not_what_the_launcher_sets(cls, given: dict[str, Any]) -> dict[str, Any]:
        for name in given:
            if name in SET_BY_LAUNCHER:
                own = name.replace("-", "_")
                instead = f"set `slurm.{own}`" if own in cls.model_fields else "the launcher sets it"
                raise ValueError(f"sbatch's option '{name}' cannot be given here: {instead}")
        return given


class RaySpec(Spec):
    """What is asked of Ray for a job, which executes one run after another until none is free."""

    address: str | None = Field(
        None, pattern=r"^(auto|(ray://)?[^\s/:]+:\d+)$", description="Cluster: auto (the one of this machine), HOST:PORT, or "
        "ray://HOST:PORT from outside; null is RAY_ADDRESS, else one that is started here for the study.",
    )  # fmt: skip
    jobs: int | None = Field(
        None, ge=1, le=10_000, description="Jobs of a study at a time; null is as many as fit now."
    )
    memory: float | None = Field(
        None, gt=0, description="Memory that is reserved for a job, in GB; null reserves none."
    )
    custom: dict[Option, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict, description="What else a node must have, by the cluster's own names, e.g. {fast_disk: 1}."
    )
    shared: bool | None = Field(
        None,
        description="Whether nodes see the workspace at the same path; null finds out. Otherwise all comes back over Ray.",
    )
    autoscaling: bool = Field(
        False,
        description="Whether the cluster adds nodes while jobs wait; then a job that fits no node of now waits too.",
    )

    @field_validator("custom")
    @classmethod
    def _not_what_has_a_field(cls, given: dict[str, float]) -> dict[str, float]:
        fields = {"CPU": "threads", "GPU": "gpus", "memory": "ray.memory", "object_store_memory": "ray.memory"}
        for name in given:
            if name in fields:
                raise ValueError(f"'{name}' cannot be given here: set `resources.{fields[name]}`")
        return given


class Resources(Spec):
    """Where a run goes and what it may use: places a run, never changes a number."""

    gpus: Literal[0, 1] | None = Field(
        None, description="GPUs a rank; null takes one where there is one, else the CPU."
    )
    threads: int = Field(
        1, ge=1, le=1024, description="Intra-op threads of a rank on the CPU; recorded, since sums differ."
    )
    workers: int = Field(0, ge=0, le=256, description="Processes a rank that read images; 0 reads in the rank itself.")
    resident: bool | None = Field(
        None, description="Whether the whole data set is decoded onto the device; null does so where it fits."
    )
    grad_checkpointing: bool = Field(
        False, description="Whether blocks are computed again in the backward to save memory."
    )
    cuda_graph: bool = Field(
        False,
        description="Whether a GPU replays whole steps as one CUDA graph, for small models; where it cannot, it does not.",
    )
    scan: Name = Field("auto", description="Selective-scan back-end; auto takes the fastest that works. Recorded.")
    minutes: float | None = Field(None, gt=0, description="Time a run is expected to need at most; for schedulers.")
    slurm: SlurmSpec = Field(SlurmSpec(), description="What is asked of Slurm; without meaning elsewhere.")
    ray: RaySpec = Field(RaySpec(), description="What is asked of Ray; without meaning elsewhere.")
