"""The recipe of one complete training, and `RunSpec`: a recipe with a seed. Whatever changes a number stands here."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

Schedule = Literal["none", "linear", "constant", "constant_skip_first", "reverse", "cosine", "step", "last_k", "custom"]

RATELESS = ("none", "custom")  # schedules for which a largest rate means nothing

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
DataName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+|/[A-Za-z0-9_-]+)*$", max_length=120)
]
Place = Annotated[str, Field(min_length=1, max_length=500)]
Rate = Annotated[float, Field(ge=0, le=1)]
Scalar = bool | int | float | str | None


class Spec(BaseModel):
    """Base of all specs: frozen, strict types, unknown keys refused, no infinity or NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _name_unknown_keys(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Say what would have been allowed, which pydantic's own message for a forbidden key leaves out."""
        known = cls.model_fields
        for key in value if isinstance(value, dict) else ():
            if key not in known:
                raise PydanticCustomError("unknown_key", "unknown key", {"key": key, "allowed": list(known)})
        return handler(value)


def misplaced(message: str, *at: str | int) -> PydanticCustomError:
    """Return an error of a part within what is validated, for a rule between several parts.

    Args:
        message: What is wrong.
        at: Keys that lead to the part.
    """
    return PydanticCustomError("misplaced", "{message}", {"message": message, "at": at})


class WeightsSpec(Spec):
    """A checkpoint file. Its content decides the id, not its path."""

    path: Place = Field(description="A file, relative to the project's folder.")
    sha256: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="Its digest; filled in when the recipe is loaded."
    )


class ModelSpec(Spec):
    """The network, by its name in timm's registry (ours and the recipe's `models:` included)."""

    name: Name = Field(description="A name in timm's registry, e.g. shufflemamba_tiny; `slws models` lists ours.")
    drop_path: Rate = Field(0.0, description="Largest rate of stochastic depth.")
    args: dict[str, Scalar] = Field(
        default_factory=dict,
        description="Further keyword arguments of the model's factory, e.g. {depth: 12}. "
        "Image size, channels and classes come from the data set unless given here.",
    )
    init_from: Annotated[WeightsSpec, WithJsonSchema({"type": "string"})] | None = Field(
        None, description="Checkpoint to start from, by its path: official files load as they are."
    )

    @field_validator("init_from", mode="before")
    @classmethod
    def _a_path_is_enough(cls, given: Any) -> Any:
        return {"path": given} if isinstance(given, str) else given


class AugmentSpec(Spec):
    """Augmentation of training images: of each as it is read, then of the batch, then mixing within the batch."""

    resized_crop: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]] | None = Field(
        None, strict=False, description="Random resized crop: smallest and largest share of the area, e.g. [0.08, 1]."
    )
    auto: str | None = Field(
        None, description="timm's name of an automatic policy: rand-m9-mstd0.5-inc1, 3a (3-Augment), augmix-m3-w3, ..."
    )
    color_jitter: float = Field(
        0.0, ge=0, le=1, description="Strength of colour jitter. Without effect beside a rand policy, as in timm."
    )
    crop: int = Field(0, ge=0, le=64, description="Random crop after padding by this many pixels; 0 is off.")
    flip: Rate = Field(0.0, description="Probability of a horizontal flip.")
    erase: Rate = Field(0.0, description="Probability that a random rectangle is erased.")
    erase_mode: Literal["const", "pixel"] = Field("const", description="Erased pixels are the mean, or normal noise.")
    repeats: int = Field(
        1, ge=1, le=16, description="Repeated augmentation: copies of each drawn sample; an epoch stays as long."
    )
    mixup: float = Field(0.0, ge=0, description="Alpha of mixup; 0 is off.")
    cutmix: float = Field(0.0, ge=0, description="Alpha of CutMix; 0 is off.")
    mix_prob: Rate = Field(1.0, description="Probability that a batch is mixed at all.")
    mix_switch: Rate = Field(0.5, description="Probability of CutMix rather than mixup where both are on.")

    @model_validator(mode="after")
    def _area_in_order(self) -> AugmentSpec:
        if self.resized_crop is not None and self.resized_crop[0] > self.resized_crop[1]:
            raise ValueError(f"resized_crop {list(self.resized_crop)}: the smaller share comes first")
        return self


class DataSpec(Spec):
    """The data set and how it is shown to the model."""

    name: DataName = Field(
        description="digits, cifar10, cifar100, fashion_mnist, image_folder, parquet, hfds/NAME or wds/NAME."
    )
    path: Place | None = Field(
        None, description="Where it lies: ~ and $VARIABLES are read; relative to the project's folder. Part of the id "
        "as written.",
    )  # fmt: skip
    size: int | None = Field(
        None, ge=1, le=4096, description="Pixels of the square images; null: the set's own, or 224 for image files."
    )
    channels: Literal[1, 3] | None = Field(None, description="1 is grey, 3 is RGB; null: the set's own, or 3.")
    val: Literal["given", "cut"] = Field(
        "given",
        description="Val is the set's own where it has one, or always cut from train (then a given val is test).",
    )
    val_fraction: float = Field(
        0.2, gt=0, lt=1, description="Share of the training samples cut off as val, by hashed sample id."
    )
    label_fraction: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of each class's training samples that is used: a fixed, hashed, nested list.",
    )
    equal: Literal["epochs", "steps"] = Field(
        "epochs", description="With a label fraction: equal passes over what is left, or as many steps as with all."
    )
    mean: tuple[float, ...] | None = Field(
        None, strict=False, description="Mean by channel, pixels from 0 to 1; null: the set's own, or ImageNet's."
    )
    std: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(
        None, strict=False, description="Standard deviation likewise."
    )
    eval_crop: float = Field(
        1.0, gt=0, le=1, description="Evaluation: side of the centre crop, as a share of the resized image's."
    )
    on_broken: Literal["stop", "skip"] = Field(
        "stop", description="An image that cannot be read ends the run, or is counted, named and left out."
    )
    augment: AugmentSpec = Field(default=AugmentSpec(), description="Augmentation of training images.")


class ShuffleSpec(Spec):
    """Stochastic Layer-Wise Shuffle: how the rate is spread over the depth."""

    schedule: Schedule = Field("none", description="Shape of the rate over depth; none trains without the shuffle.")
    max_rate: Rate = Field(0.0, description="Largest rate of any layer. Without meaning for none and custom.")
    steps: int | None = Field(None, ge=2, description="Number of stairs, for step only; null means 2.")
    k: int | None = Field(None, ge=1, description="How many of the last layers are shuffled, for last_k only.")
    rates: tuple[Rate, ...] | None = Field(None, strict=False, description="One rate a layer, for custom only.")
    over_time: Literal["constant", "ramp_up", "ramp_down"] = Field(
        "constant", description="How all rates change over the epochs: not at all, from 0 up, or down to 0."
    )
    off_last: int = Field(0, ge=0, description="Epochs at the end without the shuffle.")
    permutation: Literal["batch", "sample"] = Field("batch", description="One permutation a batch, or one a sample.")
    window: int | None = Field(
        None, ge=2, description="Tokens change places only within windows of this many; null: anywhere."
    )
    class_token: bool = Field(True, description="Whether class tokens and registers are shuffled with the rest.")

    @field_validator("max_rate")
    @classmethod
    def _drop_the_meaningless_rate(cls, rate: float, info: ValidationInfo) -> float:
        """Without a schedule a largest rate changes nothing, so it must not change the identity either."""
        return 0.0 if info.data.get("schedule") in RATELESS else rate

    @field_validator("over_time", "off_last", "permutation", "window", "class_token")
    @classmethod
    def _drop_what_no_shuffle_reads(cls, given: Any, info: ValidationInfo) -> Any:
        """Without the shuffle its switches change nothing, so they must not change the identity either."""
        return cls.model_fields[str(info.field_name)].default if info.data.get("schedule") == "none" else given

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
    batch_size: int = Field(ge=1, description="Samples a step, over all ranks and accumulated parts together.")
    lr: float = Field(1e-3, gt=0, description="Peak learning rate.")
    lr_batch: int | None = Field(
        None, ge=1, description="`lr` is meant for this batch size and scaled linearly to batch_size (min_lr and "
        "warmup_lr are not); null: no scaling.",
    )  # fmt: skip
    min_lr: float = Field(1e-5, ge=0, description="Learning rate at the end of the cosine.")
    warmup_epochs: int = Field(0, ge=0, description="Epochs of linear warm-up, counted within `epochs`.")
    warmup_lr: float = Field(1e-6, ge=0, description="Learning rate at the start of the warm-up.")
    cosine: Literal["after_warmup", "from_start"] = Field(
        "after_warmup", description="Where the cosine begins; from_start leaves a drop where the warm-up ends, as the "
        "official code does.",
    )  # fmt: skip
    lr_update: Literal["step", "epoch", "epoch_late"] = Field(
        "step",
        description="The rate moves every step, every epoch, or every epoch and one late, as in the official code.",
    )
    weight_decay: float = Field(0.05, ge=0, description="AdamW's decoupled decay, not applied to vectors.")
    decay_A: bool = Field(True, description="Whether A_log, a matrix, is decayed; in the official recipes it is.")
    layer_decay: float | None = Field(
        None, gt=0, le=1, description="Learning rates fall by this factor a layer from the head down; null is off."
    )
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        (0.9, 0.999), strict=False, description="AdamW's betas."
    )
    eps: float = Field(1e-8, gt=0, description="AdamW's epsilon.")
    clip_grad: float | None = Field(None, gt=0, description="Largest gradient norm; null does not clip.")
    smoothing: float = Field(0.0, ge=0, lt=1, description="Label smoothing.")
    ema_decay: float | None = Field(None, gt=0, lt=1, description="Decay of the weights' moving average; null is off.")
    eval_train: bool = Field(
        False, description="Whether the training images are evaluated after each epoch as the validation images are "
        "(train/top1, train/top5), so that over-fitting shows.",
    )  # fmt: skip
    precision: Literal["fp32", "bf16"] = Field("fp32", description="fp32, or bf16 by autocast.")
    compile: bool = Field(False, description="Whether torch.compile compiles the blocks; changes rounding.")
    accumulate: int = Field(1, ge=1, description="Parts in which a rank takes its share of a batch, one after another.")
    ranks: int = Field(1, ge=1, le=1024, description="Processes that share the batch.")

    @model_validator(mode="after")
    def _warmup_within_epochs(self) -> TrainSpec:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs ({self.warmup_epochs}) must be below epochs ({self.epochs})")
        if self.min_lr > max(self.lr, self.peak_lr):
            raise ValueError(f"min_lr ({self.min_lr:g}) is above the peak learning rate ({self.peak_lr:g})")
        if self.batch_size % (self.ranks * self.accumulate):
            raise ValueError(
                f"batch_size ({self.batch_size}) must be a multiple of ranks x accumulate ({self.ranks * self.accumulate})"
            )
        return self

    @property
    def peak_lr(self) -> float:
        """The peak learning rate, scaled to the batch."""
        return self.lr if self.lr_batch is None else self.lr * self.batch_size / self.lr_batch


class StageSpec(Spec):
    """One of several trainings in a row: the recipe with some fields set otherwise."""

    name: Name = Field(description="What to call it, e.g. pretrain-128.")
    set: dict[str, Any] = Field(default_factory=dict, description="Dotted fields of the recipe and their values here.")
    start: Literal["last", "ema"] = Field(
        "last", description="Which weights of the stage before it starts from; without meaning for the first."
    )


class Recipe(Spec):
    """One complete training, but for its seed (`experiments/*.yaml`)."""

    kind: Literal["train"] = Field(description="What the recipe is: `train` is a training by this package.")
    models: tuple[Place, ...] = Field(
        (), strict=False, description="Python files, relative to the project's folder, that register further models with "
        "timm's @register_model. They are executed where the recipe is trained or checked.",
    )  # fmt: skip
    model: ModelSpec
    data: DataSpec
    shuffle: ShuffleSpec = ShuffleSpec()
    train: TrainSpec
    stages: tuple[StageSpec, ...] = Field(
        (), strict=False, description="Trainings one after another in one run, each from the weights of the one before."
    )

    @model_validator(mode="after")
    def _off_within_epochs(self) -> Self:
        if self.shuffle.off_last > self.train.epochs:
            raise ValueError(f"shuffle.off_last ({self.shuffle.off_last}) is above train.epochs ({self.train.epochs})")
        return self

    @property
    def title(self) -> str:
        """What run ids begin with."""
        return self.model.name

    @property
    def ranks(self) -> int:
        """Processes that a run starts."""
        return self.train.ranks


class RunSpec(Recipe):
    """A recipe with a seed: all that decides a run's numbers."""

    seed: int = Field(ge=0, lt=2**31)

    @classmethod
    def of(cls, recipe: Recipe, seed: int) -> RunSpec:
        """Join a recipe and a seed."""
        return cls(**{name: getattr(recipe, name) for name in Recipe.model_fields}, seed=seed)
