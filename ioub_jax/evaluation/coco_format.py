"""Conversion of the library's arrays to COCO's format: ground truth and detections.

Boxes are converted from xyxy to COCO's `[x, y, width, height]`, and labels 0..C-1 to the category
ids of the data set. All results are plain Python values.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np


class AnnotatedSource(Protocol):
    """A data source for `to_coco_ground_truth`."""

    @property
    def sizes(self) -> np.ndarray:
        """Integers [len, 2]: height and width of each image in pixels."""

    @property
    def classes(self) -> Sequence[str]:
        """The name of each label."""

    @property
    def category_ids(self) -> Sequence[int | str]:
        """The category id of each label in the data set."""

    @property
    def written_ids(self) -> Mapping[int, int | str]:
        """Ids of images in the data set that are not integers, by `image_id`."""

    def __len__(self) -> int: ...

    def image_id(self, index: int) -> int:
        """The id of an image."""

    def annotations(self, index: int) -> Any:
        """Objects of an image: `boxes` [n, 4] xyxy; `labels`, flags and `area` [n]."""

    def describe(self, index: int) -> str:
        """The name of an image's file."""


def to_coco_ground_truth(source: AnnotatedSource) -> dict[str, Any]:
    """A data source's annotations in COCO's JSON format, without decoding an image.

    Besides COCO's keys, each annotation has the keys `difficult` and `ignored` (0 or 1), which
    VOC's metric reads. COCO's metric has no such flags, so difficult boxes count like any other
    there. A region to ignore is a crowd of its class, or of every class if its label is -1:
    detections in it do not count. If a source knows the verified classes of its images
    (`federated`, a `data.sources.coco_federated.Federated`), images and categories also have LVIS's
    keys.

    Args:
      source: a data source with boxes xyxy in pixels of its original images.

    Returns:
      `images`, `annotations` and `categories`, with plain Python values.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(len(source)):
        image_id = _written_id(source.image_id(index), source.written_ids)
        height, width = (int(side) for side in source.sizes[index])
        images.append(
            {"id": image_id, "file_name": source.describe(index), "height": height, "width": width}
        )
        example = source.annotations(index)
        for box, label, crowd, difficult, ignored, area in zip(
            _xywh(example.boxes),
            example.labels,
            example.crowd,
            example.difficult,
            example.ignored,
            example.area,
            strict=True,
        ):
            of_classes = source.category_ids if label < 0 else [source.category_ids[int(label)]]
            for category_id in of_classes:
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_id,
                        "category_id": _plain_id(category_id),
                        "bbox": box,
                        "area": float(area),
                        "iscrowd": int(crowd or ignored),
                        "difficult": int(difficult),
                        "ignored": int(ignored),
                    }
                )
    categories = [
        {"id": _plain_id(category_id), "name": name}
        for category_id, name in zip(source.category_ids, source.classes, strict=True)
    ]
    if (federated := getattr(source, "federated", None)) is not None:
        _add_verified(images, categories, federated)
    return {"images": images, "annotations": annotations, "categories": categories}


def _add_verified(
    images: list[dict[str, Any]], categories: list[dict[str, Any]], federated: Any
) -> None:
    """Adds LVIS's keys; the lists omit classes that the source does not have."""
    ids = {category["name"]: category["id"] for category in categories}
    for image in images:
        for key, names in (
            ("neg_category_ids", federated.absent.get(image["id"], ())),
            ("not_exhaustive_category_ids", federated.partial.get(image["id"], ())),
        ):
            image[key] = [ids[name] for name in names if name in ids]
    for category in categories:
        if category["name"] in federated.frequencies:
            category["frequency"] = federated.frequencies[category["name"]]


def _written_id(image_id: int, written_ids: Mapping[int, int | str]) -> int | str:
    """The id of an image in its data set."""
    return written_ids.get(int(image_id), int(image_id))


def _plain_id(category_id: int | str) -> int | str:
    """The id of a category as a plain Python value."""
    return category_id if isinstance(category_id, str) else int(category_id)


def _xywh(boxes: np.ndarray) -> list[list[float]]:
    """Boxes `[n, 4]` xyxy as COCO's lists; float64 keeps differences of float32 values exact."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()


def to_coco_results(
    image_ids: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    valid: np.ndarray,
    category_ids: Sequence[int | str],
    written_ids: Mapping[int, int | str] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """A batch of detections as COCO results.

    Args:
      image_ids: integers [B], the ids in the data set or integers that stand for them.
      boxes: [B, K, 4] xyxy in pixels of the **original** images (divide the detector's boxes by
        the batch's scale first).
      scores: [B, K].
      labels: integers [B, K] in 0..C-1.
      valid: booleans [B, K], whether each slot holds a detection.
      category_ids: the category id of each of the C labels in the data set.
      written_ids: the ids of images that are not integers in the data set, by the integers that
        stand for them in `image_ids`.

    Returns:
      a dict for each valid slot, in order, with plain Python values at the full precision of
      float32.

    Raises:
      ValueError: the shapes do not fit together, or a valid label is not in 0..C-1.
    """
    image_ids, boxes, scores, labels, valid = (
        np.asarray(array) for array in (image_ids, boxes, scores, labels, valid)
    )
    slots = (len(image_ids), boxes.shape[1] if boxes.ndim == 3 else 0)
    shapes = [array.shape for array in (boxes, scores, labels, valid)]
    if image_ids.ndim != 1 or shapes != [(*slots, 4), slots, slots, slots]:
        raise ValueError(
            "image_ids, boxes, scores, labels, valid must have shapes [B], [B, K, 4], [B, K],"
            f" [B, K], [B, K], not {[image_ids.shape, *shapes]}"
        )
    rows, columns = np.nonzero(valid)
    kept_labels = labels[rows, columns]
    if kept_labels.size and not 0 <= kept_labels.min() <= kept_labels.max() < len(category_ids):
        raise ValueError(
            f"labels of valid detections span {kept_labels.min()}..{kept_labels.max()}, but there"
            f" are {len(category_ids)} category ids"
        )
    return [
        {
            "image_id": _written_id(image_id, written_ids),
            "category_id": _plain_id(category_ids[label]),
            "bbox": box,
            "score": score,
        }
        for image_id, label, box, score in zip(
            image_ids[rows].tolist(),
            kept_labels.tolist(),
            _xywh(boxes[rows, columns]),
            scores[rows, columns].tolist(),
            strict=True,
        )
    ]


class DetectionCollector:
    """Collects the detections of an evaluation, each image exactly once.

    The last batch of an evaluation is filled up with repeated images, whose detections would be
    false positives if they were counted.

    Attributes:
      results: the COCO results so far.
      image_ids: the ids in the data set of the images seen so far, including those without
        detections. After the last batch they should be those of the ground truth.
    """

    def __init__(
        self, category_ids: Sequence[int | str], written_ids: Mapping[int, int | str] | None = None
    ) -> None:
        """Starts empty; the arguments are those of `to_coco_results`."""
        self._category_ids = tuple(category_ids)
        self._written_ids = written_ids or {}
        self.results: list[dict[str, Any]] = []
        self.image_ids: set[int | str] = set()

    def add(
        self,
        image_ids: np.ndarray,
        boxes: np.ndarray,
        scores: np.ndarray,
        labels: np.ndarray,
        valid: np.ndarray,
        is_real: np.ndarray,
    ) -> None:
        """Adds a batch, without the examples that only fill it.

        Args:
          image_ids: integers [B].
          boxes: [B, K, 4] xyxy in pixels of the original images.
          scores: [B, K].
          labels: integers [B, K] in 0..C-1.
          valid: booleans [B, K], whether each slot holds a detection.
          is_real: booleans [B], False for examples that only fill the batch.

        Raises:
          ValueError: an image is added a second time, or the arguments are invalid as for
            `to_coco_results`.
        """
        is_real = np.asarray(is_real)
        real_ids = [
            _written_id(image_id, self._written_ids)
            for image_id in np.asarray(image_ids)[is_real].tolist()
        ]
        again = [id_ for id_, count in Counter(real_ids).items() if count > 1]
        again += [id_ for id_ in real_ids if id_ in self.image_ids]
        if again:
            raise ValueError(
                f"image_id {again[0]} was evaluated twice: an evaluation must see each image once,"
                " and padding examples must have is_real=False"
            )
        arrays = [np.asarray(array)[is_real] for array in (image_ids, boxes, scores, labels, valid)]
        image_ids, boxes, scores, labels, valid = arrays
        self.results += to_coco_results(
            image_ids, boxes, scores, labels, valid, self._category_ids, self._written_ids
        )
        self.image_ids.update(real_ids)
