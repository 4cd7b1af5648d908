"""The split of CPU cores between engines and clients."""

import pytest

from actors.placement.slots import cpu_slots, gpu_slots
from configs.load import ConcurrentLoad
from configs.serving import Serving


def load(**settings: object) -> ConcurrentLoad:
    return ConcurrentLoad.model_validate({"kind": "concurrent", "streams": [1], **settings})


@pytest.mark.parametrize(
    ("cores", "engines", "clients", "together"),
    [
        (1, ((0,),), ((),), False),
        (2, ((0,), (1,)), ((1,), (0,)), False),
        (3, ((0,), (1,)), ((2,), (2,)), True),
        (8, ((0, 1, 2), (3, 4, 5)), ((6, 7), (6, 7)), True),
    ],
)
def test_cores_are_split_without_overlap_where_there_are_enough(
    cores: int, engines: tuple, clients: tuple, together: bool
) -> None:
    slots = cpu_slots(list(range(cores)), Serving(), [load()])
    assert (slots.engines, slots.clients, slots.together) == (engines, clients, together)


def test_colocation_never_loads_in_turn_with_all_other_cores_for_the_clients() -> None:
    slots = cpu_slots(list(range(8)), Serving(), [load(colocate="never")])
    assert not slots.together
    assert slots.clients[0] == (3, 4, 5, 6, 7)


def test_engine_that_takes_all_cores_sits_alone() -> None:
    assert cpu_slots([0, 1, 2, 3], Serving(cores=4), [load()]).engines == ((0, 1, 2, 3),)


def test_gpus_seat_one_tensor_parallel_group_each() -> None:
    slots = gpu_slots(8, [Serving(tensor_parallel_size=2)], [load()])
    assert len(slots.engines) == 4
    assert slots.together
    assert slots.taken_by(2) == slots.taken_by(1) == 1


@pytest.mark.parametrize(("sizes", "seats", "taken"), [([1, 2], 8, [1, 2]), ([4, 2], 4, [2, 1]), ([2, 3], 8, [2, 3])])
def test_engines_of_different_sizes_take_several_slots(sizes: list[int], seats: int, taken: list[int]) -> None:
    slots = gpu_slots(8, [Serving(tensor_parallel_size=size) for size in sizes], [load()])
    assert len(slots.engines) == seats
    assert [slots.taken_by(size) for size in sizes] == taken


@pytest.mark.parametrize(("share", "seated"), [(0.5, 4), (0.3, 6), (0.1, 20)])
def test_gpus_that_are_shared_seat_several_and_load_one_at_a_time(share: float, seated: int) -> None:
    slots = gpu_slots(2, [Serving(gpu_share=share, gpu_memory_utilization=share)], [load()])
    assert len(slots.engines) == seated
    assert slots.taken_by(share) == 1
    assert not slots.together
