"""report.html as a reader gets it: its content, and how a browser shows it on a screen and on a phone."""

import html
import re
import shutil
import subprocess
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests_support import evaluations_of, write_records

from configs.hardware import Hardware
from configs.loading import load_experiment
from flows.analysis import compare
from flows.analysis.judgement import Judgement
from flows.planning import plan
from flows.reporting import report, tables
from flows.reporting.table import Table
from flows.runtime.context import Run
from flows.runtime.progress import Progress
from flows.store.records import Store

TASKS = ("everyday_science", "everyday_text")
SPEEDS = {"base": 40.0, "fp8-dynamic": 60.0, "int4-w4a16-group-64-careless": 70.0}
"""Output tokens per second of the variants that are measured."""
LOST = {"base": 0.0, "fp8-dynamic": 0.01, "int4-w4a16-group-64-careless": 0.3}
"""Share of the baseline's right answers that a variant gives no more."""
BROKEN = "fp8-broken"
WENT_WRONG = f"ValueError: no such file: {'folder_in_a_folder_' * 5}"
"""A reason with a word that is wider than a phone."""
FIGURES = {"pareto-plot": 1, "load-plot": 2, "accuracy-plot": 1}
"""Drawings in each figure."""
FETCHED = ("src", "srcset", "href", "xlink:href", "data", "poster")
"""Attributes that make a browser fetch something."""
PHONE = 390
LOAD = {"kind": "concurrent", "streams": [2, 8], "duration_s": 10}
LONG = 1500
"""Prompt tokens of the workload that is called rag."""


class Page(HTMLParser):
    """What a page holds: cells of tables and drawings of figures by their ids, words, addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = defaultdict(list)
        self.figures: Counter[str] = Counter()
        self.fills: dict[tuple[str, ...], str] = {}
        """The colour that was painted last at every position of a figure's marker."""
        self.addresses: list[str] = []
        self.words = ""
        self._inside, self._in_cell = "", False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.addresses += [value for name, value in attributes.items() if name in FETCHED]
        if tag in ("table", "figure"):
            self._inside = attributes["id"]
        elif tag == "tr":
            self.tables[self._inside].append([])
        elif tag in ("th", "td"):
            self.tables[self._inside][-1].append("")
            self._in_cell = True
        elif tag == "svg":
            self.figures[self._inside] += 1
        elif tag == "use" and "fill: " in attributes.get("style", ""):
            marker = (self._inside, str(self.figures[self._inside]), attributes["x"], attributes["y"])
            self.fills[marker] = attributes["style"].partition("fill: ")[2][:7]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in ("th", "td")

    def handle_data(self, data: str) -> None:
        self.words += data
        if self._in_cell:
            self.tables[self._inside][-1][-1] += data


@dataclass(frozen=True)
class Written:
    """A report, and what it was written from."""

    file: Path
    run: Run
    judgement: Judgement
    tables: list[Table]


@pytest.fixture(name="written")
def _written(experiment_file: Any, hardware: Hardware, tmp_path: Path) -> Written:
    """A report on made-up records: one variant is best, one answers wrongly, one failed; only the lighter
    load is within the limit."""
    return report_on({"load": LOAD}, experiment_file, hardware, tmp_path)


@pytest.fixture(name="on_workloads")
def _on_workloads(experiment_file: Any, hardware: Hardware, tmp_path: Path) -> Written:
    """The same under two kinds of traffic; with long prompts the baseline is as fast as what is recommended for
    short ones."""
    workloads = {"chat": LOAD, "rag": {**LOAD, "prompt_tokens": LONG}}
    return report_on({"load": None, "workloads": workloads}, experiment_file, hardware, tmp_path)


def report_on(loads: dict[str, Any], experiment_file: Any, hardware: Hardware, tmp_path: Path) -> Written:
    """A report on made-up records under some loads."""
    named = [{"kind": "fp8-dynamic", "name": name} for name in [*SPEEDS, BROKEN] if name != "base"]
    experiment = load_experiment(
        experiment_file(
            schemes=[{**scheme, "ignore": [f"layer{index}"]} for index, scheme in enumerate(named)],
            accuracy={"tasks": list(TASKS)},
            **loads,
            decision={"constraints": {"max_accuracy_drop": 0.05, "max_ttft_p95_ms": 300}},
        )
    )
    store, random = Store.of(experiment.storage), np.random.default_rng(0)
    right = {task: random.random(400) < 0.6 for task in TASKS}
    made = plan.make(experiment, hardware)
    for variant in made.variants:
        if variant.name != BROKEN:
            kept = {task: answers & (random.random(400) >= LOST[variant.name]) for task, answers in right.items()}
            sweeps, beside = (
                [_sweep(_speed(name, step.settings)) for step in variant.benchmarks] for name in (variant.name, "base")
            )
            write_records(store, variant, 10**9, [kept] * len(evaluations_of(variant)), sweeps, beside)
    run = Run.of(made, store, Progress(), tmp_path)
    run.outcomes[BROKEN].failure = WENT_WRONG
    judgement = compare.judge(run.evidence)
    report.write(run, judgement)
    file = experiment.results / "report.html"
    return Written(file, run, judgement, tables.all_of(judgement, experiment.decision))


def _speed(variant: str, settings: Mapping[str, Any]) -> float:
    name = "fp8-dynamic" if variant == "base" and settings["load"]["prompt_tokens"] == LONG else variant
    return SPEEDS[name] * (1 + 0.01 * settings["repeat"])


def _sweep(speed: float) -> list[dict[str, Any]]:
    """One repeat: clients whom the server answers within the limit, and more of them."""
    points = []
    for clients, busy, slow in ((2.0, 0.5, 0.5), (8.0, 1.0, 2.0)):
        counts = {"requests": 100, "errors": 0, "seconds": 10.0, "concurrency_mean": clients}
        slowness = {"ttft": 20_000, "tpot": 1_000, "request_latency": 90_000}
        latencies = {f"{n}_{p}_ms": slow * ms / speed for n, ms in slowness.items() for p in ("p50", "p95")}
        speeds = {"output_tokens_per_second": busy * speed}
        points.append({"asked": clients, "unit": "streams", **counts, **latencies, **speeds})
    return points


def assert_whole(page: Page, written: Written) -> None:
    """Every table cell by cell, every figure, and the decision with its reasons."""
    expected = {table.name: [list(table.headers), *map(list, table.rows)] for table in written.tables}
    assert list(expected) == ["variants", "front", "loads", "same-load", *(f"accuracy-{name}" for name in SPEEDS)]
    assert {name: page.tables[name] for name in expected} == expected
    assert set(page.tables) == {*expected, "how", "evidence"}
    for name in ("variants", "evidence"):
        assert [row[0] for row in page.tables[name][1:]] == list(SPEEDS)
    assert page.figures == FIGURES
    assert written.judgement.sentence.startswith("Deploy fp8-dynamic")
    for words in (written.judgement.sentence, *written.judgement.reasons.values(), WENT_WRONG):
        assert words in page.words


def test_report_holds_every_table_figure_and_variant(written: Written) -> None:
    assert_whole(Page(written.file.read_text()), written)


def test_report_has_a_section_for_every_workload(on_workloads: Written) -> None:
    text = on_workloads.file.read_text()
    page, names = Page(text), ("variants", "front", "loads", "same-load")
    assert list(page.tables)[:9] == ["workloads", *(f"{name}-{w}" for w in ("chat", "rag") for name in names)]
    assert [row[:3] for row in page.tables["workloads"][1:]] == [
        ["chat", "deploy", "fp8-dynamic"],
        ["rag", "keep the baseline", "base"],
    ]
    assert page.tables["workloads"][1][5] == "2 clients,\nnot at 8"
    expected = {table.name: [list(table.headers), *map(list, table.rows)] for table in on_workloads.tables}
    assert {name: page.tables[name] for name in expected} == expected
    for section in ("workload-chat", "workload-rag", "for-every-workload", "how"):
        assert f'href="#{section}"' in text and text.count(f'id="{section}"') == 1
    assert page.figures == {
        **{f"{name}-{w}": FIGURES[name] for w in ("chat", "rag") for name in ("pareto-plot", "load-plot")},
        "accuracy-plot": 1,
    }
    assert page.words.count(WENT_WRONG) == 1, "what holds for all workloads is said once"
    evidence = page.tables["evidence"][1][1]
    assert (evidence.count("chat benchmark"), evidence.count("rag benchmark"), evidence.count("evaluate")) == (4, 4, 2)
    assert {"chat: load", "rag: load"} <= {row[0] for row in page.tables["how"]}
    markdown = on_workloads.file.with_suffix(".md").read_text()
    assert "## Workload: chat\n\n**Deploy fp8-dynamic" in markdown
    assert "\n### Variants: rag\n" in markdown


def test_report_needs_nothing_but_itself(written: Written) -> None:
    text = written.file.read_text()
    addresses = Page(text).addresses
    assert addresses, "the figures refer to their own markers"
    assert {address[0] for address in addresses} == {"#"}
    assert not re.search(r"@import|url\((?!#)", text)


def test_points_that_do_not_count_are_hollow(written: Written) -> None:
    fills = Page(written.file.read_text()).fills
    hollow = [marker for marker, fill in fills.items() if fill == "#ffffff"]
    beaten = [marker for marker in fills if marker[0] == "pareto-plot" and marker in hollow]
    assert Counter(figure for figure, *_ in hollow) == {"load-plot": 2 * len(SPEEDS), "pareto-plot": len(beaten)}
    drawn = sum(marker[0] == "pareto-plot" for marker in fills)
    filled = sum(point.variant != "base" for point in written.judgement.pareto)
    assert drawn - len(beaten) == filled > 0, "those on the front; an SVG does not say of a marker that it is black"


def test_judgement_of_a_run_under_way_names_who_is_not_measured_yet(written: Written) -> None:
    written.run.outcomes[BROKEN].failure = None
    judgement = compare.judge(written.run.evidence)
    assert judgement.sentence == f"Not measured in full: 1 of 4 variants. So far: {written.judgement.sentence}"
    assert judgement.reasons[BROKEN] == "not measured in full: its checkpoint, 1 of 1 evaluations, 4 of 4 loads missing"
    assert judgement.recommended == written.judgement.recommended


def test_base_is_not_kept_before_all_are_judged(on_workloads: Written) -> None:
    on_workloads.run.outcomes[BROKEN].failure = None
    answers = {name: part.answer for name, part in compare.judge(on_workloads.run.evidence).workloads.items()}
    assert on_workloads.judgement.workloads["rag"].answer == "keep the baseline"
    assert answers == {"chat": "deploy", "rag": "not enough evidence"}


@pytest.fixture(name="browser")
def _browser() -> str:
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium on this machine: the report was read as text, and not opened in a browser")
    return path


def opened(browser: str, file: Path) -> tuple[str, list[str]]:
    """The document after it was loaded, and what the browser's console said."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars"]
    flags += [
        "--virtual-time-budget=5000",
        "--dump-dom",
        "--enable-logging=stderr",
        f"--user-data-dir={file.parent / 'profile'}",
    ]
    done = subprocess.run([browser, *flags, file.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, re.findall(r"CONSOLE\S+ (.*)", done.stderr)


def test_browser_shows_the_report_without_an_error(browser: str, written: Written) -> None:
    document, said = opened(browser, written.file)
    assert not said
    assert_whole(Page(document), written)


@pytest.mark.parametrize("report", ["written", "on_workloads"])
def test_report_is_as_wide_as_a_phone(browser: str, report: str, request: pytest.FixtureRequest) -> None:
    written: Written = request.getfixturevalue(report)
    measure = "console.log('widths', contentDocument.documentElement.scrollWidth, contentWindow.innerWidth)"
    # A window has at least 500 pixels, and a frame as few as it is given.
    frame = f'<iframe width="{PHONE}" onload="{measure}" srcdoc="{html.escape(written.file.read_text())}"></iframe>'
    phone = written.file.with_name("phone.html")
    phone.write_text(frame)
    _, said = opened(browser, phone)
    assert [line.split(",")[0] for line in said] == [f'"widths {PHONE} {PHONE}"']
