"""Checkpoints in a workdir, and the metadata beside their arrays.

`checkpoints/last/STEP` and `checkpoints/best/STEP` have the arrays in `state/` and a description of
them in `metadata/`, as JSON: `config`, `AP` (of the best checkpoint only), and the `checksums` of
the arrays, which earlier versions did not write.
"""

import dataclasses
import json
import pathlib
from typing import Any

from ioub_jax import files

# The file that orbax writes into a checkpoint in a bucket after all others.
_COMPLETE = "commit_success.txt"

#: The checkpoints that a run resumes from, and the one with its best AP.
KINDS = ("last", "best")


@dataclasses.dataclass(frozen=True)
class Folder:
    """The folder of one checkpoint.

    Attributes:
      workdir: the run's folder.
      kind: 'last' or 'best'.
      step: the step after which it was saved.
    """

    workdir: pathlib.Path
    kind: str
    step: int

    def __str__(self) -> str:
        """The checkpoint, as part of a sentence."""
        return f"the '{self.kind}' checkpoint of step {self.step}"

    @property
    def path(self) -> pathlib.Path:
        """Path of the folder."""
        return self.workdir / "checkpoints" / self.kind / str(self.step)

    def metadata(self) -> dict[str, Any]:
        """Metadata beside the arrays.

        Raises:
          ValueError: it is missing or damaged.
        """
        path = self.path / "metadata" / "metadata"
        try:
            metadata = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or " ".join(str(error).split())
            raise ValueError(f"its metadata cannot be read: {why}") from error
        if not isinstance(metadata, dict) or not isinstance(metadata.get("config"), dict):
            raise ValueError("its metadata has no configuration")
        if not isinstance(metadata.get("checksums", {}), dict):
            raise ValueError("the checksums in its metadata are broken")
        return metadata


def find(workdir: pathlib.Path, which: str = "last") -> list[Folder]:
    """The complete checkpoints of a run: the requested one first, then those that may replace it.

    Args:
      workdir: the run's folder.
      which: 'last' begins with the newest one, of either kind; 'best' with the best one.
    """
    found = []
    for kind in KINDS:
        folder = workdir / "checkpoints" / kind
        # A checkpoint that is being written, or whose writer was killed, has a longer name.
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        found += [Folder(workdir, kind, int(name)) for name in names if name.isdecimal()]
    if files.is_in_bucket(workdir):  # nothing can be renamed there: an incomplete one lacks a file
        found = [folder for folder in found if (folder.path / _COMPLETE).exists()]
    # Two checkpoints of the same step have the same state; the 'last' one is preferred.
    found.sort(key=lambda folder: (-folder.step, KINDS.index(folder.kind)))
    if which == "best":
        found.sort(key=lambda folder: folder.kind != "best")
    return found


def stored_configuration(workdir: pathlib.Path) -> dict[str, Any] | None:
    """The configuration in the newest readable checkpoint, or None."""
    for folder in find(workdir):
        try:
            return folder.metadata()["config"]
        except ValueError:
            continue
    return None
