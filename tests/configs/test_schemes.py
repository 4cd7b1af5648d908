"""Schemes: the recipe each makes, and the hardware each can be served on."""

import pytest
from pydantic import TypeAdapter

from configs.calibration import Calibration
from configs.hardware import Hardware
from configs.schemes import Scheme

SCHEME: TypeAdapter[Scheme] = TypeAdapter(Scheme)


def cpu(*instructions: str) -> Hardware:
    return Hardware(accelerator="cpu", name="a CPU", cores=4, memory_bytes=8 << 30, instructions=instructions)


def gpu(capability: float) -> Hardware:
    return Hardware(
        accelerator="cuda",
        name="a GPU",
        cores=16,
        memory_bytes=64 << 30,
        gpus=1,
        compute_capability=capability,
    )


AVX2, AVX512 = cpu("avx2"), cpu("avx2", "avx512f", "avx512_vnni")
AMX = cpu("avx2", "avx512f", "avx512_vnni", "amx_bf16", "amx_int8")
AMX_FP16 = cpu(*AMX.instructions, "amx_fp16")


@pytest.mark.parametrize(
    ("kind", "settings", "hardware", "served"),
    [
        ("fp8-dynamic", {}, AVX2, False),
        ("fp8-dynamic", {}, AVX512, True),
        ("fp8-dynamic", {}, AMX, False),
        ("fp8-dynamic", {}, AMX_FP16, True),
        ("fp8-dynamic", {}, gpu(8.9), True),
        ("int8-w8a8", {}, AVX2, True),
        ("int8-w8a8", {}, gpu(7.0), False),
        ("int4-w4a16", {}, AVX2, False),
        ("int4-w4a16", {}, AVX512, True),
        ("int4-w4a16", {}, AMX, True),
        ("int4-w4a16", {}, gpu(8.0), True),
        ("w8a16", {}, AVX512, False),
        ("nvfp4a16", {}, AVX512, False),
        ("nvfp4a16", {}, gpu(7.5), False),
        ("nvfp4a16", {}, gpu(9.0), True),
    ],
)
def test_scheme_says_where_it_can_be_served(kind: str, settings: dict, hardware: Hardware, served: bool) -> None:
    reason = SCHEME.validate_python({"kind": kind, **settings}).cannot_be_served_on(hardware)
    assert (reason is None) is served, reason


def test_int8_keeps_to_seven_bits_where_the_cpu_has_no_vnni() -> None:
    scheme = SCHEME.validate_python({"kind": "int8-w8a8"})
    for hardware, bits, declared in ((AVX2, 7, 8), (AVX512, 8, None), (gpu(9.0), 8, None)):
        resolved = scheme.resolved_for(hardware)
        gptq = resolved.recipe()["quantize_stage"]["quantize_modifiers"]["GPTQModifier"]
        assert gptq["config_groups"]["linear"]["weights"]["num_bits"] == bits
        assert resolved.declared_weight_bits == declared


def test_int8_asked_for_in_full_range_stays_so() -> None:
    scheme = SCHEME.validate_python({"kind": "int8-w8a8", "reduce_range": False})
    assert scheme.resolved_for(AVX2) == scheme


@pytest.mark.parametrize(
    ("settings", "modifiers", "calibrated"),
    [
        ({"kind": "int8-w8a8"}, ["SmoothQuantModifier", "GPTQModifier"], True),
        ({"kind": "int8-w8a8", "smoothquant": None, "algorithm": "rtn"}, ["QuantizationModifier"], False),
        ({"kind": "int4-w4a16"}, ["GPTQModifier"], True),
        ({"kind": "int4-w4a16", "algorithm": "awq"}, ["AWQModifier", "QuantizationModifier"], True),
        ({"kind": "int4-w4a16", "algorithm": "rtn"}, ["QuantizationModifier"], False),
        ({"kind": "w8a16"}, ["GPTQModifier"], True),
        ({"kind": "fp8-dynamic"}, ["QuantizationModifier"], False),
        ({"kind": "nvfp4a16"}, ["QuantizationModifier"], False),
    ],
)
def test_scheme_makes_its_recipe(settings: dict, modifiers: list[str], calibrated: bool) -> None:
    scheme = SCHEME.validate_python(settings)
    assert list(scheme.recipe()["quantize_stage"]["quantize_modifiers"]) == modifiers
    assert scheme.needs_calibration is calibrated


def test_scheme_may_have_its_own_number_of_calibration_samples() -> None:
    source = {"kind": "local", "path": "text.txt"}
    asked = Calibration.model_validate({"source": source, "samples": 16, "seed": 7})
    own = asked.for_scheme(SCHEME.validate_python({"kind": "int4-w4a16", "calibration_samples": 64}))
    assert own == asked.model_copy(update={"samples": 64})
    assert asked.for_scheme(SCHEME.validate_python({"kind": "int4-w4a16"})) == asked


def test_group_scales_count_in_the_stored_bits() -> None:
    assert SCHEME.validate_python({"kind": "int4-w4a16", "group_size": 64}).bits_per_weight == 4.25
