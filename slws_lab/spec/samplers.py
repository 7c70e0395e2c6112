"""How a search draws its trials and ends the poor ones early: Optuna's samplers and pruners by name, with its words for options."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field

from slws_lab.spec.recipe import Spec

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
FromZero = Annotated[int, Field(ge=0)]


class Tpe(Spec):
    """Tree-structured Parzen estimator: one objective or several, constraints, conditions."""

    name: Literal["tpe"] = "tpe"
    n_startup_trials: FromZero = Field(10, description="Trials at random before the model is asked.")
    n_ei_candidates: Count = Field(24, description="Candidates among which the best is taken.")
    multivariate: bool | None = Field(None, description="Model dimensions jointly; null: for one objective.")
    group: bool = Field(False, description="Model jointly what goes together by `when`.")
    constant_liar: bool = Field(True, description="Keep away from what other slots try at the moment.")


class Gp(Spec):
    """Gaussian process: few, costly trials."""

    name: Literal["gp"] = "gp"
    n_startup_trials: FromZero = Field(10, description="Trials at random before the model is asked.")
    deterministic_objective: bool = Field(False, description="Whether a setting always gives the same value.")


class CmaEs(Spec):
    """Covariance matrix adaptation: numbers only; levels and conditions are drawn at random."""

    name: Literal["cmaes"] = "cmaes"
    n_startup_trials: FromZero = Field(1, description="Trials at random before the first population.")
    sigma0: Annotated[float, Field(gt=0)] | None = Field(
        None, description="First step size; null: a sixth of the range."
    )
    popsize: Annotated[int, Field(ge=2)] | None = Field(
        None, description="Trials a generation; null: by the dimensions."
    )
    with_margin: bool = Field(False, description="Keep whole numbers from freezing.")


class NsgaII(Spec):
    """Non-dominated sorting genetic algorithm: several objectives."""

    name: Literal["nsgaii"] = "nsgaii"
    population_size: Annotated[int, Field(ge=2)] = Field(50, description="Trials a generation.")
    mutation_prob: Share | None = Field(None, description="Chance that a dimension is drawn anew; null: one a child.")
    crossover_prob: Share = Field(0.9, description="Chance that a child has two parents.")
    swapping_prob: Share = Field(0.5, description="Chance that a dimension comes from the second parent.")


class RandomSearch(Spec):
    """Every trial drawn alike."""

    name: Literal["random"] = "random"


class BruteForce(Spec):
    """Every combination once, conditions included (a grid, in an order by the seed); ranges need a step or whole numbers."""

    name: Literal["brute_force", "grid"] = "brute_force"


class Qmc(Spec):
    """Quasi-Monte Carlo: spreads evenly; what has conditions is drawn at random."""

    name: Literal["qmc"] = "qmc"
    qmc_type: Literal["sobol", "halton"] = "sobol"
    scramble: bool = Field(False, description="Randomise the sequence, by the search's seed.")


class Median(Spec):
    """Ends a trial whose best so far is worse than the median of the others at that epoch."""

    name: Literal["median"] = "median"
    n_startup_trials: FromZero = Field(5, description="Trials that end before any is pruned.")
    n_warmup_steps: FromZero = Field(0, description="Epochs in which none is pruned.")
    interval_steps: Count = Field(1, description="Epochs from one look to the next.")
    n_min_trials: Count = Field(1, description="Trials that must have reached the epoch.")


class SuccessiveHalving(Spec):
    """Asynchronous successive halving (ASHA): at each rung only the best share goes on."""

    name: Literal["successive_halving", "asha"] = "successive_halving"
    min_resource: Literal["auto"] | Count = Field("auto", description="Epochs up to the first rung.")
    reduction_factor: Annotated[int, Field(ge=2)] = Field(4, description="One in so many goes on.")
    min_early_stopping_rate: FromZero = Field(
        0, description="How much later the rungs begin, as a power of the factor."
    )
    bootstrap_count: FromZero = Field(0, description="Trials that must wait at a rung before any goes on.")


class Hyperband(Spec):
    """Several successive halvings, from eager to patient."""

    name: Literal["hyperband"] = "hyperband"
    min_resource: Count = Field(1, description="Epochs up to the first rung of the most eager one.")
    max_resource: Literal["auto"] | Count = Field(
        "auto", description="Epochs of a whole trial; auto: as the first ones have."
    )
    reduction_factor: Annotated[int, Field(ge=2)] = Field(3, description="One in so many goes on.")
    bootstrap_count: FromZero = Field(0, description="Trials that must wait at a rung before any goes on.")


class Wilcoxon(Spec):
    """Ends a trial of several seeds when the seeds so far say by a signed-rank test that it is worse than the best."""

    name: Literal["wilcoxon"] = "wilcoxon"
    p_threshold: Annotated[float, Field(gt=0, le=1)] = Field(0.1, description="Ends where the p-value is below it.")
    n_startup_steps: FromZero = Field(2, description="Seeds before the first test.")


SimplePruner = Annotated[Median | SuccessiveHalving | Hyperband, Discriminator("name")]


def named(value: Any) -> Any:
    """`tpe` is short for `{name: tpe}`."""
    return {"name": value} if isinstance(value, str) else value


class Patient(Spec):
    """Asks another pruner only when a trial has not improved for some epochs; without one it ends the trial itself."""

    name: Literal["patient"] = "patient"
    patience: FromZero = Field(description="Epochs without improvement.")
    min_delta: Annotated[float, Field(ge=0)] = Field(0.0, description="What counts as none.")
    wrapped_pruner: Annotated[SimplePruner, BeforeValidator(named)] | None = Field(
        None, description="The pruner to ask."
    )


Sampler = Annotated[
    Tpe | Gp | CmaEs | NsgaII | RandomSearch | BruteForce | Qmc,
    Discriminator("name"),
    BeforeValidator(named),
]
Pruner = Annotated[
    Median | SuccessiveHalving | Hyperband | Wilcoxon | Patient, Discriminator("name"), BeforeValidator(named)
]
