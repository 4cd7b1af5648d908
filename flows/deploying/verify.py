"""Whether what answers at an address is the variant that was measured: the model itself, by what it says, and
as fast as it was."""

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from actors import openai_client
from actors.artifacts import ReferenceGap
from actors.benchmarker import Benchmarker
from actors.placement.lease import Needs, lease
from configs.serving import api_key
from flows import cluster
from flows.analysis import reference_gap, requests
from flows.deploying.candidate import Candidate
from flows.runtime.context import answer
from flows.runtime.errors import StepFailed
from flows.runtime.faults import fault
from flows.store import checkpoints

LOAD_S = 5.0
"""Measured seconds of the load; the benchmark's own where that is shorter."""
SLOWEST, LATEST = 0.5, 3.0
"""The short load may reach this share of the benchmark's throughput, and this multiple of its median TTFT:
it tells a broken deployment from a sound one, and measures nothing."""
_SHIFT = 0.05
"""Nats by which the mean difference from the reference may differ from that at the benchmark. On one machine
it was the same to the last digit; other kernels round otherwise."""
_SAME_ANSWERS = 0.5
"""Share of the greedy answers that must be those of the benchmark, word by word; near ties flip."""
_PROMPT = "The sea is"
_TOKENS = 8
_CLOSED = {
    "get": ("v1/models", "metrics", "docs", "openapi.json", "version", "load"),
    "post": ("v1/completions", "invocations", "tokenize", "detokenize", "scale_elastic_ep"),
}
"""Paths of vLLM's that nobody is answered at without the key, beside those like them."""
_REFUSED = (401, 403, 404)


@dataclass(frozen=True)
class Check:
    """One look at a deployment."""

    name: str
    passed: bool | None
    """None: it was skipped, and `found` says why."""
    found: str
    rule: str


@dataclass(frozen=True)
class Verification:
    """All looks at one deployment. `url` has no /v1."""

    url: str
    variant: str
    model: str
    at: float
    """When it was finished, in seconds since 1970."""
    checks: tuple[Check, ...]
    figures: dict[str, float]
    """Of the short load; empty where it was not run."""

    @property
    def passed(self) -> bool:
        return all(check.passed is not False for check in self.checks)

    @property
    def failures(self) -> str:
        """What is wrong, in words."""
        return "; ".join(f"{check.name}: {check.found}" for check in self.checks if check.passed is False)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed}


def verify(url: str, candidate: Candidate) -> Verification:
    """Look at all that can be seen from outside. The load comes last, and only on the right model."""
    look = _Look(url.rstrip("/").removesuffix("/v1").rstrip("/"), candidate)
    for name, rule, question in look.questions():
        if any(check.passed is False for check in look.checks):
            look.checks.append(Check(name, None, "skipped: a check above failed", rule))
            continue
        look.checks.append(look.answered(name, rule, question))
    return Verification(look.url, candidate.variant, look.model, time.time(), tuple(look.checks), look.figures)


class _Look:
    """The questions to one address, in order, and the checks made so far."""

    def __init__(self, url: str, candidate: Candidate) -> None:
        self.url, self.candidate, self.model = url, candidate, candidate.model
        self.checks: list[Check] = []
        self.figures: dict[str, float] = {}
        self._text = ""
        self._gap: ReferenceGap | None = None
        self._key = api_key()

    def questions(self) -> list[tuple[str, str, Callable[[], tuple[bool | None, str]]]]:
        """Name, rule and question of every check."""
        limit = self.candidate.reference_limit
        return [
            ("health", "answers 200", self._health),
            ("key", "if VLLM_API_KEY is set, only /health answers without it", self._closed),
            ("model list", f"{self.candidate.model}, or a single model", self._models),
            ("completion", f"{_TOKENS} tokens", self._completion),
            ("chat", "an answer, if the tokenizer has a chat template", self._chat),
            ("streaming", "several events, a proper end, the text of the completion", self._streaming),
            ("reference", f"at most {limit:.2f} nats a token from the checkpoint's record", self._reference),
            (
                "as benchmarked",
                f"within {_SHIFT:g} nats of the benchmark, and {100 * _SAME_ANSWERS:.0f} % of its greedy answers",
                self._as_benchmarked,
            ),
            ("load", self._load_rule(), self._load),
        ]

    def answered(self, name: str, rule: str, question: Callable[[], tuple[bool | None, str]]) -> Check:
        """A check, also where the server breaks off or answers what nobody expects."""
        try:
            passed, finding = question()
        except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            passed, finding = False, f"{type(error).__name__}: {error}"
        return Check(name, passed, " ".join(finding.split())[:300], rule)

    def _health(self) -> tuple[bool, str]:
        status, _ = openai_client.get(f"{self.url}/health", patience_s=30, key=self._key)
        return status == 200, f"status {status}"

    def _closed(self) -> tuple[bool | None, str]:
        if self._key is None:
            return None, "skipped: VLLM_API_KEY is not set"
        answered = {path: openai_client.get(f"{self.url}/{path}", patience_s=30)[0] for path in _CLOSED["get"]}
        answered |= {path: openai_client.post_nothing(f"{self.url}/{path}", 30) for path in _CLOSED["post"]}
        open_to_all = [f"/{path} ({status})" for path, status in answered.items() if status not in _REFUSED]
        if open_to_all:
            return False, f"answers without the key at {', '.join(open_to_all)}"
        return True, f"{len(answered)} paths refused without the key"

    def _models(self) -> tuple[bool, str]:
        status, page = openai_client.get(f"{self.url}/v1/models", patience_s=30, key=self._key)
        if status != 200:
            return False, f"status {status}"
        names = [entry["id"] for entry in json.loads(page)["data"]]
        if self.model not in names and len(names) == 1:
            self.model = names[0]
        return self.model in names, ", ".join(names)

    def _body(self, **further: Any) -> dict[str, Any]:
        return {"model": self.model, "max_tokens": _TOKENS, "temperature": 0, **further}

    def _completion(self) -> tuple[bool, str]:
        response = openai_client.ask(
            f"{self.url}/v1/completions", self._body(prompt=_PROMPT, ignore_eos=True), self._key
        )
        self._text, tokens = response["choices"][0]["text"], response["usage"]["completion_tokens"]
        return tokens == _TOKENS, f"{tokens} tokens: {self._text!r}"

    def _chat(self) -> tuple[bool | None, str]:
        if not checkpoints.has_chat_template(self.candidate.folder):
            return None, "skipped: the tokenizer has no chat template"
        messages = [{"role": "user", "content": "What is the capital of France?"}]
        response = openai_client.ask(f"{self.url}/v1/chat/completions", self._body(messages=messages), self._key)
        text = response["choices"][0]["message"]["content"] or ""
        return bool(text.strip()), repr(text)

    def _streaming(self) -> tuple[bool, str]:
        body = self._body(prompt=_PROMPT, ignore_eos=True)
        events, ended = openai_client.stream(f"{self.url}/v1/completions", body, self._key)
        text = "".join(event["choices"][0]["text"] for event in events if event["choices"])
        finding = f"{len(events)} events{'' if ended else ', no end'}"
        same = text == self._text
        return len(events) > 1 and ended and same, finding if same else f"{finding}, another text: {text!r}"

    def _reference(self) -> tuple[bool, str]:
        reference = self.candidate.checkpoint.result.reference
        self._gap = openai_client.compare_with_reference(f"{self.url}/v1", self.model, reference, self._key)
        wrong = reference_gap.wrong(self._gap, self.candidate.reference_limit)
        return wrong is None, wrong or f"{self._gap.mean_logprob_difference:.3f} nats a token"

    def _as_benchmarked(self) -> tuple[bool, str]:
        assert self._gap is not None, "the comparison with the reference comes before"
        then = self.candidate.benchmark.result.reference
        before, now = then.mean_logprob_difference, self._gap.mean_logprob_difference
        pairs = list(zip(then.answers, self._gap.answers, strict=True))
        same = sum(old.served == new.served for old, new in pairs)
        passed = abs(now - before) <= _SHIFT and same >= _SAME_ANSWERS * len(pairs)
        return passed, f"{now:.3f} nats (benchmark {before:.3f}); {same} of {len(pairs)} answers are the same"

    def _load_rule(self) -> str:
        if not self.candidate.point.counts:
            return "as fast as benchmarked"
        figures = self.candidate.point.figures
        least, most = SLOWEST * figures["output_tokens_per_second"].mean, LATEST * figures["ttft_p50_ms"].mean
        return f"at least {least:.4g} tokens/s, median TTFT at most {most:.0f} ms"

    def _load(self) -> tuple[bool | None, str]:
        if not self.candidate.point.counts:
            notes = ", ".join((*self.candidate.point.violations, *self.candidate.point.labels))
            return None, f"skipped: the benchmark has no usable point ({notes})"
        for again in (True, False):
            try:
                self.figures = _short_load(self.candidate, self.url, self.model, self._key)
                break
            except (ray.exceptions.RayError, StepFailed, RuntimeError) as error:
                if not (
                    again and fault(error).may_pass
                ):  # a load generator that was starved says nothing of the server
                    return False, str(fault(error))
        if not self.figures["requests"]:
            return False, "no request ended"
        point = self.candidate.point.figures
        tokens, ttft = self.figures["output_tokens_per_second"], self.figures["ttft_p50_ms"]
        tokens_then, ttft_then = point["output_tokens_per_second"].mean, point["ttft_p50_ms"].mean
        passed = tokens >= SLOWEST * tokens_then and ttft <= LATEST * ttft_then and not self.figures["errors"]
        errors = f", {self.figures['errors']:.0f} errors" if self.figures["errors"] else ""
        return passed, (
            f"{tokens:.4g} tokens/s (benchmark {tokens_then:.4g}), median TTFT {ttft:.0f} ms ({ttft_then:.0f}){errors}"
        )


def _short_load(candidate: Candidate, url: str, model: str, key: str | None) -> dict[str, float]:
    """The figures of the decision's point, loaded once more for a few seconds from this machine."""
    load, slots, point = candidate.load, candidate.run.plan.slots, candidate.point
    batch = candidate.outcome.plan.serving.max_num_seqs
    openai_client.exercise(f"{url}/v1", model, min(load.most_at_once or batch, batch), key)
    brief = load.at(point.asked).model_copy(update={"duration_s": min(LOAD_S, load.duration_s), "requests": 0})
    with (
        cluster.connected(candidate.run.plan.hardware.accelerator),
        lease(Benchmarker, Needs(), node=ray.get_runtime_context().get_node_id()) as benchmarker,
        tempfile.TemporaryDirectory(dir=candidate.run.logs) as scratch,
    ):
        ref: Any = benchmarker.benchmark.remote(
            url=url,
            model=model,
            key=key,
            tokenizer=str(candidate.folder),
            **brief.requested,
            seed=load.seed,
            cores=list(slots.clients[0]),
            destination=scratch,
        )
        windows = answer(ref, brief.longest_point_s)
        (measured,) = requests.read(Path(scratch), [window.seconds for window in windows], open_loop=load.open_loop)
    return requests.figures(measured)


def show(verification: Verification, console: Console) -> None:
    """The checks on the terminal."""
    table = Table(title=f"{verification.variant} at {verification.url}", box=box.SIMPLE_HEAD)
    for header in ("check", "verdict", "found", "required"):
        table.add_column(header)
    words = {True: "pass", False: "FAIL", None: "-"}
    for check in verification.checks:
        table.add_row(check.name, words[check.passed], Text(check.found), Text(check.rule))
    console.print(table)


def file_name(variant: str) -> str:
    """Where the latest verification of a variant lies in the experiment's folder."""
    return f"verification-{variant}.json"
