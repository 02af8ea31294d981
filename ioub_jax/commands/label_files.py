"""Writing of detections in many images as files in YOLO's format."""

import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ioub_jax import files
from ioub_jax.data.sources import Source, YoloSource
from ioub_jax.evaluation import yolo_format


def distinct_stems(names: Iterable[str]) -> list[str]:
    """A name without folder and suffix for each image, all distinct."""
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

    An image without detections gets an empty file. `classes.txt`, whose lines correspond to the ids
    from 0 on, is written only if the ids are 0, 1, ...

    Args:
      folder: the folder for the files; created if needed.
      classes: the name of each id that is written.
      ids: the id that is written for each category id of the detections.
      images: for each image its stem, its height and width, and its detections in COCO's format,
        with `category_id`, `bbox` and `score`.
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
    """Writes label files from the records of a prediction; ids are 0, 1, ... by class order.

    Args:
      folder: the folder for the files.
      names: all files in which detection ran.
      records: the records of `PredictionFiles`, by the positions of the files.
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
    """Writes label files from the results of an evaluation.

    For a data set in YOLO's format, the ids are those of the data set, so that the detections can
    be compared with its label files; otherwise they are 0, 1, ... in the order of the classes.

    Args:
      folder: the folder for the files.
      source: the data set.
      results: the detections, each as a result dict in COCO's format.
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
