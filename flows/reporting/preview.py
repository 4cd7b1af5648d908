"""What a plan would do, what it needs and how long it may take, on the terminal."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from configs.experiment import Experiment
from flows import cluster
from flows.analysis import enough
from flows.planning import disk, hub, licences, memory, resolution, sizes
from flows.planning.estimate import Estimate, estimate
from flows.planning.history import History
from flows.planning.plan import Plan
from flows.planning.sizes import Sizes
from flows.planning.variant_plan import VariantPlan
from flows.runtime.outcome import Outcome
from flows.store import records
from flows.store.records import Record, Store
from flows.store.results import Result
from flows.store.steps import Step

_UNKNOWN = "?"


def show_plan(plan: Plan, store: Store, console: Console, *, steps: bool = False) -> None:
    """One row for each variant, what is said below it about all, and with `steps` every step by its fingerprint."""
    recorded, model = store.all(), sizes.model_of(plan, store)
    todo = {step.fingerprint for step in store.missing(plan.steps)} - _not_needed(plan, store)
    parameters = model.parameters if model else None
    documents = _documents(plan.experiment)
    history = History(recorded, plan.hardware.name, plan.hardware.accelerator, parameters, documents)
    ahead = estimate(plan, lambda step: step.fingerprint in todo, history, hosts=_hosts(plan))
    needs = {variant.name: sizes.sizes(plan, variant, model, store) for variant in plan.variants}
    console.print(_table(plan, todo, needs, ahead))
    mine = {step.fingerprint for step in plan.steps}
    earlier = [record for record in recorded if record.fingerprint not in mine]
    if steps:
        console.print(_steps(plan, todo, earlier))
    told = [f"{variant.name}: {variant.in_words}" for variant in plan.tried if variant.is_told]
    about = [*_tuned(plan.experiment), *told, *_changes(plan, todo, earlier), *_slower(plan), *_machine(plan, needs)]
    about += resolution.notes(plan, documents) + [escape(note) for note in licences.notes(plan)]
    written = [f"disk: {need}" for need in disk.disks(plan, model, todo)]
    for line in [*about, *_blocks(plan), *enough.notes(plan.experiment), *written, *hub.notes(plan)]:
        console.print(line, highlight=False)
    for line in _time(ahead, "core" if plan.hardware.on_cpu else "GPU"):
        console.print(line, highlight=False)
    console.print(f"store {store.root}", soft_wrap=True, highlight=False)


def _tuned(experiment: Experiment) -> list[str]:
    """Whose engine settings a sweep tries the base with, though no template says so."""
    if not (experiment.sweep and experiment.sweep.tuned):
        return []
    templates = ", ".join(f"sweep.space.{position}" for position in experiment.sweep.tuned)
    return [f"the base is tried with the engine settings of {templates}, too: a scheme has to beat the best-tuned base"]


def _not_needed(plan: Plan, store: Store) -> set[str]:
    """Fingerprints of the repeats and looks that an earlier look has made needless."""
    fingerprints: set[str] = set()
    for variant in plan.tried:
        if (outcome := Outcome.of(variant, store)).benchmarked:
            due = set(outcome.due)
            fingerprints |= {step.fingerprint for index, step in enumerate(variant.benchmarks) if index not in due}
            fingerprints |= {look.step.fingerprint for look in variant.looks if look.step}
    return fingerprints


def _documents(experiment: Experiment) -> dict[str, int]:
    """Documents of the tasks whose rows lie in local files."""
    counts = {}
    for task in experiment.accuracy.tasks:
        files = task.data_files or {}
        if (file := files.get("test") or files.get("validation")) and file.suffix == ".jsonl":
            counts[task.name] = sum(1 for line in file.read_bytes().splitlines() if line.strip())
    return counts


def _table(plan: Plan, missing: set[str], needs: dict[str, Sizes], ahead: Estimate) -> Table:
    table = Table(title=f"{plan.experiment.name} on {plan.hardware.name}", box=box.SIMPLE_HEAD)
    kind = "host" if plan.hardware.on_cpu else "GPU"
    table.add_column("variant")
    table.add_column("steps")
    for header in ("disk, MB", f"{kind} GiB to quantize", "to evaluate", "to serve", "estimated time"):
        table.add_column(header, justify="right")
    for variant in plan.variants:
        if variant.left_out:
            table.add_row(variant.name, f"left out: {variant.left_out}")
            continue
        todo = sum(step.fingerprint in missing for step in variant.steps)
        done = len(variant.steps) - todo
        state = f"{todo} to do, {done} done" if todo and done else f"{todo} to do" if todo else "done"
        need = needs[variant.name]
        quantize = _gib(need.quantize) if variant.scheme else ""
        took = _clock(ahead.variants[variant.name]) if todo else ""
        disk = _UNKNOWN if need.checkpoint is None else f"{need.checkpoint / 1e6:.0f}"
        table.add_row(variant.name, state, disk, quantize, _gib(need.serve), _gib(need.serve), took)
    return table


def _steps(plan: Plan, missing: set[str], earlier: list[Record[Result]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for header in ("variant", "step", "fingerprint", "state"):
        table.add_column(header)
    for variant in plan.tried:
        for step in variant.steps:
            state = f"to do{_since(step, earlier)}" if step.fingerprint in missing else "done"
            table.add_row(variant.name, _name(plan, variant, step), step.fingerprint, state)
    return table


def _name(plan: Plan, variant: VariantPlan, step: Step[Result]) -> str:
    """A step's kind, and the workload of a benchmark that has one."""
    named = zip(variant.benchmarks, plan.experiment.benchmarks, strict=True)
    workloads = {benchmark.fingerprint: workload for benchmark, (workload, _) in named}
    return f"{step.kind} {workloads.get(step.fingerprint, '')}".rstrip()


def _since(step: Step[Result], earlier: list[Record[Result]]) -> str:
    """What is other than in a record that the plan has no step for."""
    nearest = records.nearest(step, earlier)
    return f"; changed since: {', '.join(records.difference(step, nearest)[:4])}" if nearest else ""


def _changes(plan: Plan, missing: set[str], earlier: list[Record[Result]]) -> list[str]:
    """Why steps with an earlier record are done again, each reason once for all variants that it touches."""
    touched: dict[str, list[str]] = {}
    for variant in plan.tried:
        for step in variant.steps:
            if step.fingerprint in missing and (since := _since(step, earlier)):
                names = touched.setdefault(f"{step.kind}{since}", [])
                names += [variant.name] if variant.name not in names else []
    return [f"{what} ({', '.join(names)})" for what, names in touched.items()]


def _slower(plan: Plan) -> list[str]:
    """What may not pay on this hardware, each reason once."""
    reasons: dict[str, list[str]] = {}
    for variant in plan.tried:
        if variant.scheme and (reason := variant.scheme.why_slower_on(plan.hardware)):
            reasons.setdefault(reason, []).append(variant.name)
    return [f"may be slower than the base: {', '.join(names)}, as {reason}" for reason, names in reasons.items()]


def _machine(plan: Plan, needs: dict[str, Sizes]) -> list[str]:
    slots, hardware, serving = plan.slots, plan.hardware, plan.experiment.serving
    count = len(slots.engines)
    gpus = sorted({variant.serving.gpus for variant in plan.tried})
    how = "together" if slots.together else "one after the other"
    if hardware.on_cpu or len(gpus) == 1:
        each = f"{len(slots.engines[0])} cores" if hardware.on_cpu else f"{gpus[0]:g} GPUs"
        seats = f"{count} engines side by side, {each} each"
    else:
        seats = f"{count * slots.gpus_each:g} GPUs, for engines of {' or '.join(f'{size:g}' for size in gpus)}"
    lines = [f"{seats}, computing in {plan.compute_dtype}; benchmarked {how}"]
    largest = max((need.serve for need in needs.values() if need.serve), default=None)
    if largest and hardware.on_cpu:
        lines.append(
            f"memory: up to {_gib(count * largest)} GiB for {count} engines at once, this machine has "
            f"{_gib(hardware.memory_bytes)} (estimates by the model's shapes, flows/planning/memory.py)"
        )
    elif largest:
        taken = _gib(int(hardware.gpu_memory_bytes * serving.gpu_memory_utilization))
        lines.append(f"memory: vLLM reserves {taken} GiB of every GPU of an engine, whatever it needs")
    else:
        lines.append(f"{_UNKNOWN}: known once the base model is available")
    return lines


def _blocks(plan: Plan) -> list[str]:
    """How every variant is benchmarked in turn with the baseline, and how many engines are started for it."""
    lines = []
    for workload, load in plan.experiment.loads.items():
        looks = (load.looks[0], load.looks[-1])
        starts = [load.start_of(last - 1, plan.hardware.accelerator) + 1 for last in looks]
        engines = [sum(count * (1 + variant.beside_base) for variant in plan.tried) for count in starts]
        repeats, counts, in_all = (_from_to(some) for some in (looks, starts, engines))
        lines.append(
            f"{f'load {workload}'.rstrip()}: every variant in turn with the baseline, {repeats} repeats; starts of "
            f"each engine: {counts}, of all engines: {in_all}"
        )
    return lines


def _from_to(some: Sequence[int]) -> str:
    first, last = some
    return f"{first}" if first == last else f"{first} to {last}"


def _time(ahead: Estimate, device: str) -> list[str]:
    """How long, for how many hours of a core or a GPU, and for what money where a price is given."""
    if not ahead.seconds:
        return ["nothing to do"]
    total = f"time: about {_clock(ahead.seconds)}"
    if ahead.least_seconds < ahead.seconds:
        total += f", or {_clock(ahead.least_seconds)} if all but one lose the race in its first rung"
    hours = (ahead.device_hours, ahead.machine_hours)
    devices = f"{device}-hours: {hours[0]:.2f} in use, {hours[1]:.2f} of {device}s until the end, used or not"
    if (price := ahead.price_of_an_hour) is not None:
        devices += f"; at decision.price_per_hour {hours[0] * price:.2f} and {hours[1] * price:.2f}"
    rest = [f"  {line}" for line in ahead.assumed]
    return [f"{total} (estimated from earlier records, or from assumptions without a record)", devices, *rest]


def _hosts(plan: Plan) -> int:
    """Nodes that a run measures on."""
    if not cluster.is_named():
        return 1
    return max(1, sum(cluster.is_alike(node.id, plan.hardware) for node in cluster.nodes()))


def _gib(size: int | None) -> str:
    return _UNKNOWN if size is None else f"{size / memory.GIB:.1f}"


def _clock(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
