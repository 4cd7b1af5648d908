"""NVML: the energy that GPUs have taken, as their driver counts it (since the Volta architecture).

    python -m actors.engines.nvml [CUDA_VISIBLE_DEVICES]     what each GPU here tells, as JSON

NVML numbers GPUs by their place on the bus, and so does CUDA among those of one kind.
"""

import json
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

import pynvml


def held(visible: str) -> tuple[str, ...]:
    """UUIDs of some GPUs, if each tells its energy; none where one does not, or is a part of a GPU (MIG).

    Args:
        visible: which, as CUDA_VISIBLE_DEVICES has them; empty for none.
    """
    try:
        found = tuple(_uuid(name.strip()) for name in visible.split(",") if name.strip())
    except (pynvml.NVMLError, ValueError):
        return ()
    return found if found and energy_j(found) is not None else ()


def energy_j(gpus: Sequence[str]) -> float | None:
    """Joules that some GPUs have taken together since their driver was loaded; None where one does not tell, or is
    divided into parts (MIG), of which none has a counter of its own.

    Args:
        gpus: their UUIDs.
    """
    try:
        if any(map(_is_divided, gpus)):
            return None
        return sum(float(pynvml.nvmlDeviceGetTotalEnergyConsumption(_of_uuid(gpu))) for gpu in gpus) / 1000
    except pynvml.NVMLError:
        return None


def seen(visible: str) -> list[dict[str, Any]]:
    """Of every GPU here its `name`, `uuid`, and `energy_j`, which is None where it does not tell; no GPU where there is
    no driver.

    Args:
        visible: which GPUs count, as CUDA_VISIBLE_DEVICES has them; empty for all.
    """
    try:
        _start()
        names = visible.split(",") if visible else map(str, range(pynvml.nvmlDeviceGetCount()))
        uuids = [_uuid(name.strip()) for name in names]
        named = [pynvml.nvmlDeviceGetName(_of_uuid(uuid)) for uuid in uuids]
    except (pynvml.NVMLError, ValueError):
        return []
    return [{"name": name, "uuid": uuid, "energy_j": energy_j([uuid])} for name, uuid in zip(named, uuids, strict=True)]


@cache
def _start() -> None:
    pynvml.nvmlInit()


def _uuid(name: str) -> str:
    """Of a GPU, by its place or its UUID, which may be cut short.

    Raises:
        ValueError: it is a part of a GPU.
        NVMLError: there is none.
    """
    if name.startswith("MIG"):
        raise ValueError(f"{name} is a part of a GPU")
    _start()
    if name.isdigit():
        return str(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(int(name))))
    places = range(pynvml.nvmlDeviceGetCount())
    uuids = [str(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(place))) for place in places]
    if len(found := [uuid for uuid in uuids if uuid.startswith(name)]) != 1:
        raise ValueError(f"{name} names no one GPU")
    return found[0]


@cache
def _of_uuid(uuid: str) -> Any:
    _start()
    return pynvml.nvmlDeviceGetHandleByUUID(uuid)


@cache
def _is_divided(uuid: str) -> bool:
    try:
        return bool(pynvml.nvmlDeviceGetMigMode(_of_uuid(uuid))[0])
    except pynvml.NVMLError:  # it cannot be
        return False


if __name__ == "__main__":
    print(json.dumps(seen(sys.argv[1] if len(sys.argv) > 1 else "")))
