"""The recipe of one complete training, and `RunSpec`: a recipe with a seed. Whatever changes a number stands here."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

Schedule = Literal["none", "linear", "constant", "constant_skip_first", "reverse", "cosine", "step", "last_k", "custom"]

RATELESS = ("none", "custom")  # schedules for which a largest rate means nothing

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
Rate = Annotated[float, Field(ge=0, le=1)]
Scalar = bool | int | float | str | None


class Spec(BaseModel):
    """Base of all specs: frozen, strict types, unknown keys refused, no infinity or NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _name_unknown_keys(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Say what would have been allowed, which pydantic's own message for a forbidden key leaves out."""
        for key in value if isinstance(value, dict) else ():
            if key not in cls.model_fields:
                raise PydanticCustomError("unknown_key", "unknown key", {"key": key, "allowed": list(cls.model_fields)})
        return handler(value)


class ModelSpec(Spec):
    """The network, by its name in timm's registry (ours included)."""

    name: Name = Field(description="A name in timm's registry, e.g. shufflemamba_tiny; `slws models` lists ours.")
    drop_path: Rate = Field(0.0, description="Largest rate of stochastic depth.")
    args: dict[str, Scalar] = Field(
        default_factory=dict,
        description="Further keyword arguments of the model's factory, e.g. {depth: 12}. "
        "Image size, channels and classes come from the data set unless given here.",
    )


class AugmentSpec(Spec):
    """Per-sample augmentation of a batch."""

    crop: int = Field(0, ge=0, le=64, description="Random crop after padding by this many pixels; 0 is off.")
    flip: Rate = Field(0.0, description="Probability of a horizontal flip.")
    erase: Rate = Field(0.0, description="Probability that a random rectangle is erased.")


class DataSpec(Spec):
    """The data set and how it is shown to the model."""

    name: Name = Field(description="A data set, e.g. digits.")
    val_fraction: float = Field(
        0.2, gt=0, lt=1, description="Share of the training samples cut off as val, by hashed sample id."
    )
    augment: AugmentSpec = Field(default=AugmentSpec(), description="Augmentation of training batches.")


class ShuffleSpec(Spec):
    """Stochastic Layer-Wise Shuffle: how the rate is spread over the depth."""

    schedule: Schedule = Field("none", description="Shape of the rate over depth; none trains without the shuffle.")
    max_rate: Rate = Field(0.0, description="Largest rate of any layer. Without meaning for none and custom.")
    steps: int | None = Field(None, ge=2, description="Number of stairs, for step only; null means 2.")
    k: int | None = Field(None, ge=1, description="How many of the last layers are shuffled, for last_k only.")
    rates: tuple[Rate, ...] | None = Field(None, strict=False, description="One rate a layer, for custom only.")

    @field_validator("max_rate")
    @classmethod
    def _drop_the_meaningless_rate(cls, rate: float, info: ValidationInfo) -> float:
        """Without a schedule a largest rate changes nothing, so it must not change the identity either."""
        return 0.0 if info.data.get("schedule") in RATELESS else rate

    @model_validator(mode="after")
    def _own_parameters_only(self) -> ShuffleSpec:
        for name, schedule in (("steps", "step"), ("k", "last_k"), ("rates", "custom")):
            given = getattr(self, name) is not None
            if given and self.schedule != schedule:
                raise ValueError(f"`{name}` belongs to schedule {schedule}, not to {self.schedule}")
            if not given and self.schedule == schedule and name != "steps":
                raise ValueError(f"schedule {schedule} needs `{name}`")
        if self.schedule not in RATELESS and "max_rate" not in self.model_fields_set:
            raise ValueError(f"schedule {self.schedule} needs `max_rate`")
        return self


class TrainSpec(Spec):
    """Optimisation: AdamW, cosine with warm-up, label smoothing, EMA, clipping."""

    epochs: int = Field(ge=1, le=100_000, description="Passes over the training samples.")
    batch_size: int = Field(ge=1, description="Samples a step, over all ranks together.")
    lr: float = Field(1e-3, gt=0, description="Peak learning rate.")
    min_lr: float = Field(1e-5, ge=0, description="Learning rate at the end of the cosine.")
    warmup_epochs: int = Field(0, ge=0, description="Epochs of linear warm-up, counted within `epochs`.")
    warmup_lr: float = Field(1e-6, ge=0, description="Learning rate at the start of the warm-up.")
    weight_decay: float = Field(0.05, ge=0, description="AdamW's decoupled decay, not applied to vectors.")
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        (0.9, 0.999), strict=False, description="AdamW's betas."
    )
    eps: float = Field(1e-8, gt=0, description="AdamW's epsilon.")
    clip_grad: float | None = Field(None, gt=0, description="Largest gradient norm; null does not clip.")
    smoothing: float = Field(0.0, ge=0, lt=1, description="Label smoothing.")
    ema_decay: float | None = Field(None, gt=0, lt=1, description="Decay of the weights' moving average; null is off.")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="fp32, or bf16 by autocast.")
    ranks: Literal[1] = Field(1, description="Processes that share the batch; one for now.")

    @model_validator(mode="after")
    def _warmup_within_epochs(self) -> TrainSpec:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs ({self.warmup_epochs}) must be below epochs ({self.epochs})")
        return self


class Recipe(Spec):
    """One complete training, but for its seed (`experiments/*.yaml`)."""

    kind: Literal["train"] = Field(description="What the recipe is: `train` is a training by this package.")
    model: ModelSpec
    data: DataSpec
    shuffle: ShuffleSpec = ShuffleSpec()
    train: TrainSpec


class RunSpec(Recipe):
    """A recipe with a seed: all that decides a run's numbers."""

    seed: int = Field(ge=0, lt=2**31)

    @classmethod
    def of(cls, recipe: Recipe, seed: int) -> RunSpec:
        """Join a recipe and a seed."""
        return cls(kind=recipe.kind, model=recipe.model, data=recipe.data, shuffle=recipe.shuffle,
                   train=recipe.train, seed=seed)  # fmt: skip


class Resources(Spec):
    """Where a run goes and what it may use: places a run, never changes a number."""

    gpus: Literal[0, 1] | None = Field(None, description="GPUs a run; null takes one where there is one, else the CPU.")
    threads: int = Field(
        1, ge=1, le=1024, description="Intra-op threads of a run on the CPU; recorded, since sums differ."
    )
    scan: Name = Field("auto", description="Selective-scan back-end; auto takes the fastest that works. Recorded.")
    minutes: float | None = Field(None, gt=0, description="Time a run is expected to need at most; for schedulers.")
