"""Detections in many images as files in YOLO's format."""

import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ioub_jax import files
from ioub_jax.data.sources import Source, YoloSource
from ioub_jax.evaluation import yolo_format


def distinct_stems(names: Iterable[str]) -> list[str]:
    """A name without folder and suffix for the files of each image, all distinct."""
    stems: dict[str, None] = {}
    for name in names:
        stem, number = pathlib.Path(name).stem, 1
        distinct = stem
        while distinct in stems:
            number += 1
            distinct = f"{stem}_{number}"
        stems[distinct] = None
    return list(stems)


def write(
    folder: pathlib.Path,
    classes: Mapping[int, str],
    ids: Mapping[int | str, int],
    images: Iterable[tuple[str, tuple[int, int], Sequence[Mapping[str, Any]]]],
) -> None:
    """Writes `labels/STEM.txt` of each image, `data.yaml` and `classes.txt`.

    An image without detections has an empty file. `classes.txt`, whose lines are the ids from 0, is
    left out where the ids are others.

    Args:
      folder: where to; made if it is not there.
      classes: the name of each id that is written.
      ids: these ids by the category ids of the detections.
      images: of each image its stem, its height and width, and its detections as COCO has them:
        `category_id`, `bbox` and `score`.
    """
    labels = folder / "labels"
    labels.mkdir(parents=True, exist_ok=True)
    for stem, size, found in images:
        text = yolo_format.label_text(
            [ids[one["category_id"]] for one in found],
            [one["bbox"] for one in found],
            [one["score"] for one in found],
            size,
        )
        files.write_text(labels / f"{stem}.txt", text)
    files.write_text(folder / "data.yaml", yolo_format.description(classes))
    if list(classes) == list(range(len(classes))):
        lines = (" ".join(name.split()) + "\n" for name in classes.values())
        files.write_text(folder / "classes.txt", "".join(lines))


def write_records(
    folder: pathlib.Path,
    names: Sequence[str],
    records: Mapping[int, Mapping[str, Any]],
    category_ids: Sequence[int | str],
    classes: Sequence[str],
) -> None:
    """As `write`, from the records of a prediction; ids are 0, 1, ... in the order of the classes.

    Args:
      folder: where to.
      names: all files that were looked at.
      records: of `PredictionFiles`, by the positions of the files.
      category_ids: the id of each label.
      classes: the name of each label.
    """
    stems = distinct_stems(names)
    ids = {category_id: label for label, category_id in enumerate(category_ids)}
    images = (
        (
            stems[position],
            (record["image"]["height"], record["image"]["width"]),
            record["annotations"],
        )
        for position, record in sorted(records.items())
    )
    write(folder, dict(enumerate(classes)), ids, images)


def write_results(
    folder: pathlib.Path, source: Source, results: Iterable[Mapping[str, Any]]
) -> None:
    """As `write`, from the results of an evaluation.

    Ids are those of the data set where that is in YOLO's format, so that what is found can be
    compared with its label files; else 0, 1, ... in the order of the classes.

    Args:
      folder: where to.
      source: the data set.
      results: the detections, one COCO result dict each.
    """
    found: dict[int | str, list[Mapping[str, Any]]] = {}
    for result in results:
        found.setdefault(result["image_id"], []).append(result)
    count = len(source)
    stems = distinct_stems(source.describe(index) for index in range(count))
    numbers = [source.image_id(index) for index in range(count)]
    sizes = [(int(height), int(width)) for height, width in source.sizes]
    images = (
        (stem, size, found.get(source.written_ids.get(number, number), ()))
        for stem, size, number in zip(stems, sizes, numbers, strict=True)
    )
    ids: dict[int | str, int] = {number: label for label, number in enumerate(source.category_ids)}
    if isinstance(source, YoloSource):
        ids = {number: int(number) for number in ids}
    write(folder, dict(zip(ids.values(), source.classes, strict=True)), ids, images)
