"""Inputs shared by our side and the peers; uses only numpy, since peers have other packages."""

import argparse
import dataclasses

import numpy as np

#: Torchvision's single-stage detectors, by the names of their builders.
ARCHITECTURES = {
    "retinanet": "retinanet_resnet50_fpn",
    "fcos": "fcos_resnet50_fpn",
    "ssd": "ssd300_vgg16",
    "ssdlite": "ssdlite320_mobilenet_v3_large",
}

#: Height and width of the images of the detectors that take only one size.
SIZES = {"ssd": (300, 300), "ssdlite": (320, 320)}


@dataclasses.dataclass(frozen=True)
class Workload:
    """Sizes of the inputs, and the work on them.

    Attributes:
      batch: the number of images.
      height: the height of an image, in pixels.
      width: the width of an image, in pixels.
      classes: C.
      boxes: the number of ground-truth boxes in an image.
      candidates: the number of boxes that enter NMS.
      dtype: the dtype of the network's computation, float32 or bfloat16.
      detector: torchvision's detector, a key of `ARCHITECTURES`.
      arm: the arm of our losses; a peer always has those of the baseline.
      rematerialize: the part that our step recomputes in the backward pass; a peer recomputes
        nothing.
      device: the device of a peer, cpu or cuda; ours is that of jax.
      compiled: whether a peer compiles its network.
      cache: the folder for our compiled programs; '' stores none.
    """

    batch: int
    height: int
    width: int
    classes: int
    boxes: int
    candidates: int = 5_000
    dtype: str = "float32"
    detector: str = "retinanet"
    arm: str = "baseline"
    rematerialize: str = "nothing"
    device: str = "cpu"
    compiled: int = 0
    cache: str = ""

    def arguments(self) -> list[str]:
        """Command-line arguments that `parse` understands."""
        return [f"--{name}={value}" for name, value in dataclasses.asdict(self).items()]

    def images(self) -> np.ndarray:
        """The images, uint8 `[B, H, W, 3]`."""
        shape = (self.batch, self.height, self.width, 3)
        return np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    def ground_truth(self) -> tuple[np.ndarray, np.ndarray]:
        """Boxes inside the images, float32 xyxy `[B, M, 4]`, and labels below C, int32 `[B, M]`."""
        rng = np.random.default_rng(1)
        boxes = self._boxes(rng, (self.batch, self.boxes))
        return boxes, rng.integers(0, self.classes, boxes.shape[:2], np.int32)

    def training_batch(self) -> dict[str, np.ndarray]:
        """Images and ground truth in the form of the input pipeline."""
        boxes, labels = self.ground_truth()
        size = np.array([[self.height, self.width]] * self.batch)
        nothing = np.zeros(labels.shape, bool)
        return {
            "image": self.images(),
            "image_size": size.astype(np.int32),
            "scale": np.ones(size.shape, np.float32),
            "boxes": boxes,
            "labels": labels,
            "valid": ~nothing,
            "crowd": nothing,
            "difficult": nothing,
            "ignored": nothing,
        }

    def candidate_boxes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes `[P, 4]`, scores `[P]` in [0, 1] and labels `[P]` of one image."""
        rng = np.random.default_rng(2)
        boxes = self._boxes(rng, (self.candidates,))
        scores = rng.random(self.candidates, np.float32)
        return boxes, scores, rng.integers(0, self.classes, self.candidates, np.int32)

    def predictions(self, anchors: int) -> tuple[np.ndarray, np.ndarray]:
        """Logits `[B, N, C]` around -4 and deltas `[B, N, 4]` around 0, float32."""
        rng = np.random.default_rng(3)
        logits = rng.standard_normal((self.batch, anchors, self.classes), np.float32) - 4.0
        return logits, 0.1 * rng.standard_normal((self.batch, anchors, 4), np.float32)

    def _boxes(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Returns boxes anywhere in the image, with sides of 16 pixels to half the image's."""
        size = np.array([self.width, self.height])
        sides = rng.uniform(16.0, size / 2, (*shape, 2))
        start = rng.uniform(0.0, size - sides)
        return np.concatenate([start, start + sides], axis=-1).astype(np.float32)


def parse(arguments: list[str]) -> tuple[str, Workload]:
    """The measurement and the workload of a peer's command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("measurement")
    for field in dataclasses.fields(Workload):
        parser.add_argument(f"--{field.name}", type=field.type, required=True)
    values = vars(parser.parse_args(arguments))
    return values.pop("measurement"), Workload(**values)
