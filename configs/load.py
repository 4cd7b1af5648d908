"""The load that is put on a served variant."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AliasChoices, Discriminator, Field, Tag, TypeAdapter, model_validator

from configs.base import Seed, Settings

PRESETS = {"chat": (512, 1024), "rag": (2000, 500), "code": (512, 512), "reasoning": (300, 1500)}
"""Prompt and output tokens of a request. Agreed on in this project's issue 4 as typical of each kind of traffic, and
taken from no published trace: who has a trace of their own writes its figures down instead."""


_LOOK, _MOST = 4, 12
"""Repeats from look to look, and the most of them, with `repeats: auto`."""
_STARTS = {"cpu": 1, "cuda": 2}
"""Of an engine, unless an experiment says how many: on a GPU kernels and memory are chosen anew with each."""


WARMING_S = 3.0
"""Seconds of a point while an engine is warmed up."""
_REACH = 5
"""Standard deviations from the mean that a length reaches where nothing bounds it; GuideLLM's own."""


Unit = Literal["streams", "requests_per_second"]
"""Of a point of a load: clients, each with one request under way, or a rate."""


def in_words(point: float, unit: str) -> str:
    """A point of a load as a person names it."""
    words = "requests/s" if unit != "streams" else "client" if point == 1 else "clients"
    return f"{point:g} {words}"


_Repeats = Annotated[
    Annotated[int, Field(ge=1, le=1000), Tag("")] | Annotated[Literal["auto"], Tag("auto")],
    Discriminator(lambda value: "auto" if isinstance(value, str) else ""),
]
"""A number, or `auto`; what is neither is reported as what it looks like."""


class _Load(Settings):
    open_loop: ClassVar[bool]
    """Whether requests come at a rate, whatever becomes of those before them."""
    unit: ClassVar[Unit]
    """Of its points."""
    preset: Literal["chat", "rag", "code", "reasoning"] | None = Field(default=None, exclude=True)
    """A named kind of traffic, instead of `prompt_tokens` and `output_tokens`: chat 512 and 1024, rag (long prompts
    with retrieved text) 2000 and 500, code 512 and 512, reasoning 300 and 1500."""
    prompt_tokens: int = Field(default=512, ge=1, le=10_000_000)
    """Tokens of a prompt; the mean if lengths differ."""
    prompt_tokens_stdev: int | None = Field(default=None, ge=1, le=10_000_000)
    """Standard deviation of the prompt length (normally distributed); None: all are equal."""
    prompt_tokens_min: int | None = Field(default=None, ge=1, le=10_000_000)
    """Shortest prompt; None: five standard deviations below the mean, at least 1."""
    prompt_tokens_max: int | None = Field(default=None, ge=1, le=10_000_000)
    """Longest prompt; None: five standard deviations above the mean."""
    output_tokens: int = Field(default=256, ge=1, le=10_000_000)
    """Tokens of an answer, as in `prompt_tokens`. By the seed, every variant gets the same requests."""
    output_tokens_stdev: int | None = Field(default=None, ge=1, le=10_000_000)
    """As in `prompt_tokens_stdev`."""
    output_tokens_min: int | None = Field(default=None, ge=1, le=10_000_000)
    """As in `prompt_tokens_min`."""
    output_tokens_max: int | None = Field(default=None, ge=1, le=10_000_000)
    """As in `prompt_tokens_max`."""
    duration_s: float = Field(default=60, gt=0, le=7 * 86400)
    """Seconds of a point's window. Requests that begin in it are followed to their end, under the same load."""
    requests: int = Field(default=0, ge=0, le=10_000_000)
    """Fewest requests that begin in a window; the window is extended beyond `duration_s` for them. A 95th percentile
    needs 72 in all repeats together, a 99th 368."""
    longest_s: float = Field(default=600, gt=0, le=7 * 86400)
    """Longest window in seconds, however few requests it has."""
    warmup_s: float = Field(default=5, ge=0, le=86400)
    """Fewest seconds before a window. At rates the warm-up continues until the requests in progress are steady: until
    every request due in its first half has ended, which takes two latencies."""
    repeats: _Repeats = 4
    """Runs of the whole grid, by a variant and the baseline in turn. Their order alternates, so an even number favours
    neither. Intervals are over starts, or over the repeats of a single start; those over repeats need three.
    `auto`: four, and four more until it is shown whether the variant has the smallest gain; the judgement is stricter
    to make up for that (`flows.analysis.looks`)."""
    max_repeats: int | None = Field(default=None, ge=2 * _LOOK, le=1000)
    """Most repeats with `repeats: auto`; None: 12."""
    starts: int | None = Field(default=None, ge=1, le=1000)
    """Independent starts of every engine, with the baseline's beside each. The repeats (with `auto`, every four of
    them) are spread over the starts. From two on, every interval includes the variation between starts. None: 2 on a
    GPU and 1 on a CPU, if there are as many repeats."""
    control: bool = True
    """Whether the baseline is benchmarked against a second start of itself (A/A). Every interval includes the
    difference found."""
    seed: Seed = 42
    """Seed of the prompts and arrivals of the first repeat; each further repeat uses the next seed."""
    colocate: Literal["auto", "never"] = Field(
        default="auto", validation_alias=AliasChoices("colocate", "company"), serialization_alias="company"
    )
    """Whether base and compressed variants are benchmarked at the same time: if each has cores or GPUs of its
    own, apart from the clients' (`auto`), or never. The record of a point says which it was."""
    max_interference: float = Field(default=0.1, ge=0, le=1)
    """Share of its throughput that co-location may cost the first variant of a group, measured before the
    repeats; beyond it the variants of the group are benchmarked one by one."""
    grace_s: float = Field(default=120, gt=0, le=86400)
    """Extra seconds: for a warm-up beyond `warmup_s`, for the requests of a window to end after it, and for a point
    to start and stop (usually 3). GuideLLM sometimes never ends (vllm-project/guidellm, issues 431 and 1152; here one
    point in about 300): then the load times out, and is tried again."""
    client_cores: int = Field(default=1, ge=1)
    """CPU cores reserved for the load generator if engines run on CPUs too."""

    @model_validator(mode="before")
    @classmethod
    def _tokens_of_the_preset(cls, values: Any) -> Any:
        preset = values.get("preset") if isinstance(values, dict) else None
        if not isinstance(preset, str) or preset not in PRESETS:
            return values
        tokens = dict(zip(("prompt_tokens", "output_tokens"), PRESETS[preset], strict=True))
        if beside := sorted(set(tokens) & set(values)):
            raise ValueError(f"preset {preset!r} says {beside[0]} ({tokens[beside[0]]}) itself; remove one of the two")
        return {**values, **tokens}

    @model_validator(mode="after")
    def _lengths_fit(self) -> Self:
        for name in ("prompt_tokens", "output_tokens"):
            mean, least, most = (getattr(self, f"{name}{end}") for end in ("", "_min", "_max"))
            if self.lengths.keys() & {f"{name}_min", f"{name}_max"} and f"{name}_stdev" not in self.lengths:
                raise ValueError(f"{name}_min and {name}_max need lengths that vary; add {name}_stdev")
            if (least or mean) > mean:
                raise ValueError(f"{name} {mean} is less than {name}_min {least}; raise it")
            if (most or mean) < mean:
                raise ValueError(f"{name} {mean} is more than {name}_max {most}; lower it")
        return self

    @property
    def lengths(self) -> dict[str, int]:
        """How requests differ in length, by the names of GuideLLM's synthetic text; empty where they do not."""
        names = (f"{name}_{end}" for name in ("prompt_tokens", "output_tokens") for end in ("stdev", "min", "max"))
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @property
    def most_tokens(self) -> int:
        """Of the longest request, prompt and answer."""
        return sum(
            getattr(self, f"{name}_max") or getattr(self, name) + _REACH * (getattr(self, f"{name}_stdev") or 0)
            for name in ("prompt_tokens", "output_tokens")
        )

    @property
    def pace(self) -> dict[str, Any]:
        """How long the parts of a point last: fields of `actors.pacing.Pace`."""
        names = ("warmup_s", "duration_s", "requests", "longest_s", "grace_s")
        return {**{name: getattr(self, name) for name in names}, "open_loop": self.open_loop}

    @property
    def requested(self) -> dict[str, Any]:
        """What a load generator is asked for, by the arguments of `actors.engines.guidellm.benchmark`."""
        tokens = {"prompt_tokens": self.prompt_tokens, "output_tokens": self.output_tokens, "lengths": self.lengths}
        return {"profile": self.profile, **tokens, "pace": self.pace}

    @property
    @abstractmethod
    def profile(self) -> dict[str, Any]:
        """GuideLLM's profile of the points."""

    @property
    def longest_point_s(self) -> float:
        """Seconds after which a point that has not ended never will."""
        window = max(self.duration_s, self.longest_s) if self.requests else self.duration_s
        return self.warmup_s + window + (3 if self.open_loop else 2) * self.grace_s

    @model_validator(mode="after")
    def _every_start_has_a_repeat(self) -> Self:
        if self.starts and self.starts > self.looks[0]:
            raise ValueError(
                f"starts: {self.starts} exceeds the {self.looks[0]} repeats, and every start needs one; "
                "lower it, or raise repeats"
            )
        if self.max_repeats is not None and self.repeats != "auto":
            raise ValueError(
                f"max_repeats: {self.max_repeats} has no effect with repeats {self.repeats}; set repeats: auto"
            )
        return self

    @property
    def looks(self) -> tuple[int, ...]:
        """After how many repeats one sees whether they are enough; the last are the most there are."""
        if self.repeats != "auto":
            return (self.repeats,)
        most = self.max_repeats or _MOST
        return (*range(_LOOK, most, _LOOK), most)

    def starts_on(self, accelerator: str) -> int:
        """Starts of every engine on a kind of device, until the first look."""
        return self.starts or min(self.looks[0], _STARTS[accelerator])

    def repeats_a_start(self, accelerator: str) -> int | None:
        """Repeats of every start; None where there is one start. The last has those that are left over."""
        starts = self.starts_on(accelerator)
        return self.looks[0] // starts if starts > 1 else None

    def start_of(self, repeat: int, accelerator: str) -> int:
        """Which start of the engines a repeat belongs to, from 0 up."""
        each = self.repeats_a_start(accelerator)
        if each is None:
            return 0
        before, within = divmod(repeat, self.looks[0])
        starts = self.starts_on(accelerator)
        return before * starts + min(within // each, starts - 1)

    @property
    def warming(self) -> Self:
        """The same load as it warms an engine up: a brief window, measured from its start."""
        brief = {"duration_s": min(self.duration_s, WARMING_S), "warmup_s": 0.0, "requests": 0}
        return self.model_copy(update=brief)


class ConcurrentLoad(_Load):
    """A fixed number of clients, each with one request under way."""

    open_loop = False
    unit = "streams"
    kind: Literal["concurrent"]
    streams: tuple[Annotated[int, Field(ge=1, le=10_000)], ...] = Field(min_length=1, max_length=1000)
    """Numbers of clients, one point for each."""

    @property
    def points(self) -> tuple[float, ...]:
        return tuple(float(s) for s in self.streams)

    @property
    def profile(self) -> dict[str, Any]:
        return {"kind": self.kind, "streams": list(self.streams)}

    def at(self, point: float) -> Self:
        """The same load at one of its points alone."""
        return self.model_copy(update={"streams": (int(point),)})

    @property
    def most_at_once(self) -> int | None:
        """Requests under way at once, at the heaviest point."""
        return max(self.streams)


class RateLoad(_Load):
    """Requests at a fixed mean rate, evenly spaced (`constant`) or as a Poisson process."""

    open_loop = True
    unit = "requests_per_second"
    kind: Literal["constant", "poisson"]
    rates: tuple[Annotated[float, Field(gt=0, le=100_000)], ...] = Field(min_length=1, max_length=1000)
    """Requests per second."""

    @model_validator(mode="after")
    def _some_request_is_sent(self) -> Self:
        if (slowest := min(self.rates)) * self.duration_s < 1:
            raise ValueError(
                f"rates: {slowest:g} a second sends no request within duration_s {self.duration_s:g}; raise one of them"
            )
        return self

    @property
    def points(self) -> tuple[float, ...]:
        return self.rates

    @property
    def profile(self) -> dict[str, Any]:
        return {"kind": self.kind, "rate": list(self.rates)}

    def at(self, point: float) -> Self:
        """The same load at one of its points alone."""
        return self.model_copy(update={"rates": (point,)})

    @property
    def most_at_once(self) -> int | None:
        """None: as many as come before others have gone."""
        return None


Load = Annotated[ConcurrentLoad | RateLoad, Field(discriminator="kind")]


_LOAD: TypeAdapter[Load] = TypeAdapter(Load)


def load_of(settings: Mapping[str, Any]) -> Load:
    """The load that a step's settings describe; how often it is repeated is not in them."""
    load: Load = _LOAD.validate_python(settings)
    return load
