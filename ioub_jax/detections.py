"""Detections of an image, which can be inspected, drawn, and written in other tools' formats."""

import dataclasses
import io
import itertools
import os
import pathlib
from typing import Any

import numpy as np
from PIL import Image

from ioub_jax import files
from ioub_jax.data.given_images import GivenImage
from ioub_jax.evaluation import yolo_format
from ioub_jax.printing import printable
from ioub_jax.supervision_like import SupervisionLike

#: The minimum length of a picture's longer side, so that names are legible, and the maximum.
PICTURE_SIDES = (480, 4096)
_SHOWN = 5  # in a `repr`
_PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """Detections of one image, best first.

    Attributes:
      boxes: float32 `[k, 4]` xyxy in pixels of the image, with exclusive right and bottom edges.
        For a file, these are the stored pixels, unless the detector was trained with
        `data.exif='apply'`.
      scores: float32 `[k]` in 0..1.
      labels: int32 `[k]`, positions in the detector's `classes`.
      class_names: the name of each label.
      image_size: height and width of the image.
      category_ids: the id of each detection's class in the data set; None: its label.
      image: the given image, which is read again for drawing; None if unknown.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    category_ids: tuple[int | str, ...] | None = None
    image: GivenImage | None = None

    def __len__(self) -> int:
        """Number of detections, k."""
        return len(self.labels)

    def __repr__(self) -> str:
        """One line with the number of detections, the size of the image, and the first ones."""
        height, width = self.image_size
        found = [
            f"{printable(name)} {score:.2f}"
            for name, score in zip(self.class_names[:_SHOWN], self.scores, strict=False)
        ]
        more = [f"{len(self) - _SHOWN} more"] if len(self) > _SHOWN else []
        shown = f": {', '.join([*found, *more])}" if found else ""
        return f"Detections({len(self)} in {height}x{width}{shown})"

    def above(self, score: float | np.ndarray) -> "Detections":
        """Detections with at least a score, or with at least the score of their class in `[C]`."""
        keep = self.scores >= (score if np.ndim(score) == 0 else np.asarray(score)[self.labels])
        ids = self.category_ids
        return dataclasses.replace(
            self,
            boxes=self.boxes[keep],
            scores=self.scores[keep],
            labels=self.labels[keep],
            class_names=tuple(itertools.compress(self.class_names, keep)),
            category_ids=None if ids is None else tuple(itertools.compress(ids, keep)),
        )

    def draw(self, image: Any = None) -> Image.Image:
        """Draws the image with its boxes, each with its class's name and score.

        A small image is enlarged by a whole factor so that names are legible, and one with a side
        of more than 4,096 pixels is shrunk. If there are many detections, draw those `above` a
        score.

        Args:
          image: an image to draw on instead of that of the detections: a file, a Pillow image or an
            array. Boxes are scaled to its size.

        Raises:
          ValueError: no image is given, and that of the detections is unknown.
          DataError: the image cannot be read.
        """
        given = self.image if image is None else GivenImage(image)
        if given is None:
            raise ValueError(
                "These detections have no image; give it, as in found.draw('image.jpg')."
            )
        from ioub_jax.plotting import draw_on_image  # imports matplotlib, which takes a second

        least, most = PICTURE_SIDES
        pixels, side = given.shrunk(most)
        # The scale is exactly 1 / side: the shrunk picture omits rows and columns that do not fill
        # a square.
        scale = np.array([1 / side] * 2)
        if image is not None:
            scale = np.array(pixels.shape[1::-1]) / self.image_size[::-1]
        return Image.fromarray(
            draw_on_image(
                pixels,
                self.boxes * np.tile(scale, 2).astype(np.float32),
                self.labels,
                self.scores,
                dict(zip(self.labels.tolist(), self.class_names, strict=True)),
                least_side=least,
            )
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a file in the format given by the ending of its name.

        .png, .jpg, .jpeg and .webp are the picture of `draw`, .json is `to_coco`, .txt `to_yolo`.

        Args:
          path: the file; its folder is created if it does not exist.

        Raises:
          ValueError: the name has another ending, or as in `draw`.
          DataError: as in `draw`.
        """
        path = files.path_of(path)
        suffix = path.suffix.lower()
        if suffix in _PICTURES:
            content = io.BytesIO()
            self.draw().save(content, _PICTURES[suffix], quality=95)
            _make_folder(path)
            files.write_bytes(path, content.getvalue())
        elif suffix == ".json":
            _make_folder(path)
            files.write_json(path, self.to_coco())
        elif suffix == ".txt":
            _make_folder(path)
            files.write_text(path, self.to_yolo())
        else:
            known = ", ".join([*_PICTURES, ".json", ".txt"])
            raise ValueError(f"{path} ends with {suffix!r}; give a name that ends with {known}.")

    def to_coco(self, image_id: int | str = 0) -> list[dict[str, Any]]:
        """Detections as a list of COCO results, which pycocotools' `loadRes` accepts.

        Args:
          image_id: the id of the image.

        Returns:
          `image_id`, `category_id`, `bbox` ([x, y, width, height] in pixels) and `score` of each
          detection, as plain Python values.
        """
        boxes = self.boxes.astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        ids = self.labels.tolist() if self.category_ids is None else self.category_ids
        return [
            {"image_id": image_id, "category_id": id_, "bbox": box, "score": score}
            for id_, box, score in zip(ids, boxes.tolist(), self.scores.tolist(), strict=True)
        ]

    def to_yolo(self) -> str:
        """Text of a label file for YOLO tools, with rows `class cx cy w h confidence`.

        Classes are labels; coordinates are relative to the sides of the image.
        """
        boxes = [result["bbox"] for result in self.to_coco()]
        return yolo_format.label_text(
            self.labels.tolist(), boxes, self.scores.tolist(), self.image_size
        )

    def to_supervision(self) -> SupervisionLike:
        """Detections for the package supervision, which need not be installed.

        Its annotators, zones, sinks and trackers accept them like its own detections.
        """
        return SupervisionLike(
            xyxy=self.boxes.copy(),
            confidence=self.scores.copy(),
            class_id=self.labels.astype(np.int64),
            data={"class_name": np.array(self.class_names, dtype=str)},
        )


def _make_folder(path: pathlib.Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
