"""An experiment: a base model, the variants to try, what to measure, what is good enough."""

import os
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from configs.accuracy import COMPARABLE, Accuracy
from configs.base import LONGEST_NAME, Settings
from configs.calibration import Calibration
from configs.candidates import Candidates
from configs.decision import Decision
from configs.deploying import Deploying
from configs.kserve import KServe
from configs.load import Load
from configs.model import Model
from configs.racing import Racing
from configs.schemes import Scheme
from configs.serving import Serving
from configs.storage import Storage
from configs.sweep import Sweep
from configs.variants import Variant

BASE = "base"
"""The name of the variant that is not compressed."""
ONLY = ""
"""The name of the load in an experiment that has one, and no workloads."""
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
"""What an MLflow without a server writes into."""


class Tracking(Settings):
    """MLflow. Without a URI it is a SQLite file in the store, or on the driver's machine if the store has an address.
    MLFLOW_TRACKING_URI is the default."""

    uri: str | None = Field(
        default_factory=lambda: os.environ.get("MLFLOW_TRACKING_URI") or None, validate_default=True
    )
    """An MLflow server (http, https) or a database; None: a SQLite file."""
    log_checkpoints: bool = True
    """Whether checkpoints are MLflow artifacts; otherwise a file there names their place."""

    @field_validator("uri")
    @classmethod
    def _server_or_database(cls, uri: str | None) -> str | None:
        """Not the value itself in what is said: it may hold a password."""
        if uri is None:
            return uri
        give = "give http(s)://HOST:PORT or sqlite:///FILE"
        if any(ord(character) <= 32 for character in uri):
            raise ValueError(f"contains a space or a control character; {give}")
        try:
            address = urlsplit(uri)
            _ = address.port
        except ValueError as error:
            raise ValueError(f"is not an address ({error}); {give}") from None
        if address.scheme in ("http", "https"):
            if not address.hostname:
                raise ValueError(f"names no host; {give}")
            if "@" in address.netloc:
                raise ValueError(
                    "contains a user name or a password, which do not belong in a server's address; put them into "
                    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
                )
        elif address.scheme in ("", "file"):
            raise ValueError(f"is a folder, but MLflow 3.17 keeps no runs in folders; {give}")
        elif address.scheme.partition("+")[0] not in _DATABASES:
            raise ValueError(
                f"begins with {address.scheme:.40}, neither a server nor a database that MLflow supports; {give}"
            )
        return uri


class Quantizing(Settings):
    """Resources and computation of one quantizer."""

    gpus: float | None = Field(default=None, gt=0)
    """GPUs of one quantizer, on a cluster that has any; None: one, or an engine's `serving.gpu_share`."""
    cores: int | None = Field(default=None, ge=1)
    """CPU cores of one quantizer; None: an even share of the machine's cores among busy quantizers."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Type of the weights while they are quantized; `auto`: by the hardware."""


class Experiment(Settings):
    """The whole file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=LONGEST_NAME)
    """Names the folder of results, MLflow's experiment and, once deployed, the model."""
    model: Model
    """The base model."""
    sweep: Sweep | None = None
    """Variants from a space of schemes and engine settings, in addition to the listed ones."""
    schemes: tuple[Scheme, ...] = ()
    """The listed schemes, each of them a variant."""
    variants: tuple[Variant, ...] = ()
    """Variants that are more than a scheme: existing checkpoints, other models, other engine settings, alone or
    together."""
    calibration: Calibration | None = None
    """The calibration set, for schemes that need one (GPTQ, AWQ, SmoothQuant, static scales)."""
    quantizing: Quantizing = Quantizing()
    """Resources and computation of one quantizer."""
    accuracy: Accuracy
    """The tasks to judge, and how the model is asked."""
    baseline: str = BASE
    """Name of the variant that all others are compared with, and that stays unless one of them is shown to be better:
    the base model, or one of `schemes` or `variants`."""
    serving: Serving = Serving()
    """The engine of the base model, and of every variant as far as it does not say otherwise."""
    load: Load | None = None
    """The traffic under which every variant is benchmarked."""
    workloads: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=LONGEST_NAME)], Load] = Field(
        default_factory=dict
    )
    """Instead of `load`: several kinds of traffic, each with a name, a load and an answer of its own. Accuracy
    is measured once for all of them."""
    decision: Decision = Decision()
    """The objective and the constraints."""
    racing: Racing | None = None
    """Early stopping. None: every variant is measured in full."""
    retries: int = Field(default=1, ge=0, le=1000)
    """Number of retries of a variant after a transient fault, such as a crash."""
    longest_step_s: float = Field(default=6 * 3600, gt=0, le=30 * 86400)
    """Most seconds of a quantization or an evaluation; after them it counts as stuck, and its step times out. The
    limit of a load follows from the length of its points."""
    storage: Storage = Field(default_factory=Storage)
    """Place of records and checkpoints."""
    tracking: Tracking = Field(default_factory=Tracking)
    """MLflow's server or database."""
    deploying: Deploying = Deploying()
    """Settings of `deploy --target serve`."""
    kserve: KServe | None = None
    """Settings of `deploy --target kserve`."""
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    """Kind of device; `auto`: GPUs if there are any."""
    unservable: Literal["refuse", "leave_out"] = "refuse"
    """Treatment of a scheme that this hardware cannot serve: an error, or left out of the run with its reason."""

    @model_validator(mode="before")
    @classmethod
    def _one_load_or_workloads(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        given = [key for key in ("load", "workloads") if values.get(key)]
        if not given:
            raise ValueError("load: missing; give one `load`, or several by name as `workloads`")
        if len(given) > 1:
            raise ValueError(
                "load: set together with `workloads`; remove one of them (a single setting of a workload is "
                "workloads.NAME.KEY)"
            )
        # So that an error in what the environment says instead of them names the field.
        return {"storage": {}, "tracking": {}, **values}

    @model_validator(mode="after")
    def _consistent(self) -> "Experiment":
        self.candidates.check_names(BASE)
        if self.baseline not in (listed := (BASE, *self.candidates.listed)):
            raise ValueError(
                f"baseline: {self.baseline!r} is not the name of a variant; choose one of {', '.join(listed)}"
            )
        for path, variant in self.candidates.possible:
            if variant.price_per_hour is not None and self.decision.price_per_hour is None:
                raise ValueError(
                    f"{path}.price_per_hour: set, but the base has no price to compare with; add "
                    "decision.price_per_hour"
                )
        if self.racing and self.sweep and self.sweep.search == "optuna":
            raise ValueError(
                "racing: optuna needs variants that were measured in full; remove `racing`, or set sweep.search: random"
            )
        if self.workloads and self.sweep and self.sweep.search == "optuna":
            raise ValueError(
                "workloads: optuna searches for one optimum, but every workload has its own; give one `load`, or "
                "set sweep.search: random"
            )
        calibrated = [scheme.name for _, scheme in self.candidates.schemes_by_path if scheme.needs_calibration]
        if calibrated and self.calibration is None:
            raise ValueError(
                f"calibration: missing, but scheme {calibrated[0]!r} needs it; add a `calibration` section"
            )
        if isinstance(self.storage.root, str) and self.tracking.uri is None and self.tracking.log_checkpoints:
            raise ValueError(
                "tracking.uri: missing, and storage.root is an address, so MLflow would copy every checkpoint to "
                "this machine; set it (or MLFLOW_TRACKING_URI), or set tracking.log_checkpoints: false"
            )
        if self.quantizing.gpus and self.quantizing.gpus > self.serving.gpus:
            raise ValueError(
                f"quantizing.gpus: {self.quantizing.gpus:g} exceeds the {self.serving.gpus:g} of an engine, whose "
                "slot a quantizer uses; lower it, or raise serving.tensor_parallel_size"
            )
        servings = self.servings
        for name, load in self.loads.items():
            for field, serving in servings.items():
                if load.most_tokens > serving.max_model_len:
                    longest = f" (the longest request has {load.most_tokens})" if load.lengths else ""
                    raise ValueError(
                        f"{section(name)}: {load.prompt_tokens} prompt + {load.output_tokens} output tokens{longest} "
                        f"exceed {field}.max_model_len {serving.max_model_len}; raise it or shorten the load"
                    )
            if load.open_loop and self.decision.objective in ("throughput", "cost"):
                raise ValueError(
                    f"decision.objective: {self.decision.objective!r} with {section(name)}.kind {load.kind!r}: at a "
                    "rate that a server can sustain, its throughput equals the rate; choose the objective goodput, "
                    "capacity, ttft or tpot, or kind concurrent"
                )
        return self

    @model_validator(mode="after")
    def _slices_can_be_compared(self) -> "Experiment":
        if self.racing is None:
            return self
        for position, task in enumerate(self.accuracy.tasks):
            if task.limit and (fewest := self.racing.fewest(task.limit)) < COMPARABLE:
                raise ValueError(
                    f"accuracy.tasks.{position}.limit: {task.limit} documents leave {fewest} in a slice of the race "
                    f"(racing.looks {list(self.racing.looks)}), and a comparison needs {COMPARABLE}; raise it to "
                    f"{self.racing.enough_for(COMPARABLE)}, or choose other looks"
                )
        return self

    @property
    def fewest_documents(self) -> int:
        """Documents that a task must have so that all that is asked of it can be compared."""
        return self.racing.enough_for(COMPARABLE) if self.racing else COMPARABLE

    @property
    def loads(self) -> dict[str, Load]:
        """Every load by the name of its workload."""
        return dict(self.workloads) or ({ONLY: self.load} if self.load else {})

    @property
    def benchmarks(self) -> tuple[tuple[str, int], ...]:
        """What every variant is put under, in order: the name of a workload, and which repeat of it."""
        return tuple((name, repeat) for name, load in self.loads.items() for repeat in range(load.looks[-1]))

    @cached_property
    def candidates(self) -> Candidates:
        """Every variant beside the base."""
        return Candidates(self.schemes, self.variants, self.sweep, self.serving)

    @property
    def baseline_variant(self) -> Variant | None:
        """The listed variant that is the baseline; None where that is the base model."""
        return next((variant for variant in self.candidates.known if variant.name == self.baseline), None)

    def price_per_hour(self, variant: Variant | None) -> float | None:
        """Price of the devices of one of a variant's engines, or of the base model's; None where none is known."""
        price = self.decision.price_per_hour
        return variant.priced(price, self.serving) if variant else price

    def with_sources(self, model: Model, variants: tuple[Variant, ...]) -> "Experiment":
        """The same experiment with another base model and other listed variants."""
        made = self.model_copy(update={"model": model, "variants": variants})
        made.__dict__.pop("candidates", None)  # kept of the former ones
        return made

    @property
    def servings(self) -> dict[str, Serving]:
        """How engines are served, by the section of the file that says so: the base's, and those of variants with
        settings of their own.

        Raises:
            ValueError: a variant's contradict the base's.
        """
        own = {
            f"{path}.serving": variant.served(self.serving)
            for path, variant in self.candidates.possible
            if variant.changes
        }
        return {"serving": self.serving, **own}

    @property
    def results(self) -> Path:
        """The folder on this machine that gets the decision, the report and the logs."""
        return self.storage.experiments / self.name

    @property
    def artifacts(self) -> Path | None:
        """The folder on this machine that MLflow keeps artifacts in; None where a server does. With a database as
        `tracking.uri` it is MLflow's default; an experiment that MLflow has already may have another."""
        if self.tracking.uri is None:
            return self.storage.local / "mlartifacts"
        kind = urlsplit(self.tracking.uri).scheme.partition("+")[0]
        return Path("mlruns") if kind in _DATABASES else None

    def yaml_path(self, variant: str) -> str:
        """The keys that lead to what a variant is made of in the file."""
        return self.candidates.paths.get(variant, "sweep.space")

    @property
    def names(self) -> tuple[str, ...]:
        """Every variant's, the baseline first."""
        return tuple(dict.fromkeys((self.baseline, BASE, *(variant.name for variant in self.candidates.known))))


def section(workload: str) -> str:
    """Where an experiment file asks for a workload."""
    return f"workloads.{workload}" if workload else "load"
