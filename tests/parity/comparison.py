"""How outputs are compared: by their largest error relative to their scale, and a printed table."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tests.parity import synthetic

FOLDER = pathlib.Path(__file__).parent / "fixtures"

#: Largest error of a tensor, relative to its largest absolute value.
TOLERANCE = 1e-4


class Reference:
    """A fixture: what a model of another library put out.

    Attributes:
      name: of the fixture.
      settings: the seed, the images' shape and normalization, the ground truth.
      shapes: the shape of every tensor.
    """

    def __init__(self, name: str):
        self.name = name
        written = json.loads((FOLDER / f"{name}.json").read_text())
        self.settings: dict[str, Any] = written["settings"]
        self._names_and_shapes = [(key, tuple(shape)) for key, shape in written["state_dict"]]
        self.shapes = {key: tuple(shape) for key, (shape, _) in written["tensors"].items()}
        self._scales = {key: scale for key, (_, scale) in written["tensors"].items()}
        with np.load(FOLDER / f"{name}.npz") as stored:
            self._values = dict(stored)

    def state_dict(self) -> dict[str, np.ndarray]:
        """The weights that the other library's model had."""
        return synthetic.state_dict(self._names_and_shapes, self.settings["seed"])

    def names(self, prefix: str) -> list[str]:
        """Names of the tensors that begin with `prefix`, in the order they were written."""
        return [name for name in self.shapes if name.startswith(prefix)]

    def whole(self, name: str) -> np.ndarray:
        """A tensor that was kept whole."""
        return self._values[name].reshape(self.shapes[name])

    def error(self, name: str, ours: Any) -> float:
        """Largest difference at the positions that were kept, over the scale of the tensor."""
        ours = np.asarray(ours)
        assert ours.shape == self.shapes[name], (name, ours.shape, self.shapes[name])
        kept = self._values[name]
        found = ours.reshape(-1)[synthetic.positions(name, ours.size, kept.size)]
        scale = self._scales[name] or 1.0
        return float(np.abs(found.astype(np.float64) - kept).max(initial=0.0)) / scale

    def check(self, tensors: Mapping[str, Any], *, tolerance: float = TOLERANCE) -> None:
        """Prints the error of every tensor and refuses those above the tolerance."""
        errors = {name: self.error(name, value) for name, value in tensors.items()}
        for name, error in errors.items():
            shape = "x".join(map(str, self.shapes[name]))
            print(f"{self.name:26} {name:58} {shape:18} {error:.1e}")
        assert errors
        # A comparison with NaN is false.
        wrong = {name: error for name, error in errors.items() if not error <= tolerance}
        assert not wrong, wrong


def pair_detections(
    reference: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]
) -> np.ndarray:
    """For every detection of the reference the one of ours that is nearest, of the same label.

    Two scores that are equal but for the last bits may come in either order.

    Args:
      reference: `boxes` `[n, 4]`, `scores` `[n]`, `labels` `[n]`.
      found: the same of as many detections.

    Returns:
      `[n]` indices into `found`: a permutation, if they agree.
    """
    distance = np.abs(reference["boxes"][:, None] - found["boxes"][None]).max(axis=-1)
    distance += 100.0 * np.abs(reference["scores"][:, None] - found["scores"][None])
    distance[reference["labels"][:, None] != found["labels"][None]] = np.inf
    return distance.argmin(axis=1)
