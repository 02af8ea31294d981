"""Sheets of a run's images with ground truth and detections: a selection, or the worst images."""

import dataclasses
import pathlib

import jax
import numpy as np

from ioub_jax import plotting, trained
from ioub_jax.data.sources import annotations_of
from ioub_jax.data.sources.chosen_images import ChosenImages, to_look_at
from ioub_jax.data.sources.example import Source, select_objects
from ioub_jax.evaluation.image_scores import score_image
from ioub_jax.printing import printable

_ON_A_SHEET = 60
_SIDES = (480, 480)  # more pixels would not be visible on a sheet

#: Image id -> boxes `[k, 4]` in pixels of the image, labels and scores `[k]`.
Found = dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]


def draw_detections(
    folder: pathlib.Path,
    model: trained.Trained,
    name: str,
    *,
    images: int,
    least_scores: np.ndarray,
    per_class: int | None = None,
    worst: bool = False,
) -> list[str]:
    """Draws images of the source with ground truth and detections, sixty on a sheet.

    If images are cut into tiles, single tiles with objects are drawn, since a sheet has no room for
    whole images.

    Args:
      folder: the folder for detections.png, detections_2.png and so on.
      model: the detector and its images.
      name: name of the detector in the pictures.
      images: how many images are drawn.
      least_scores: `[C]`, for each class the lowest score of detections that are drawn and counted.
      per_class: how many images with an object of each class are drawn, instead of `images`.
      worst: whether the images with the lowest F1 come first, for which detection runs in all
        images.

    Returns:
      lines with the errors in the worst images, if these are asked for.
    """
    annotations, order, lines = annotations_of(model.source), None, []
    found: Found = {}
    if worst:
        found = find(model, least_scores)
        order, ranked = worst_first(model.source, found)
    chosen = to_look_at(annotations, images, per_class=per_class, order=order)
    if order is None:
        chosen_images = ChosenImages(model.source, chosen)
        found = find(dataclasses.replace(model, source=chosen_images), least_scores)
    else:
        lines = [ranked[index] for index in chosen.tolist() if index in ranked]
    title = f"{name}: ground truth dashed, detections solid"
    title += ", the lowest F1 first" if worst else ""
    for number, begin in enumerate(range(0, max(len(chosen), 1), _ON_A_SHEET), 1):
        path = folder / ("detections.png" if number == 1 else f"detections_{number}.png")
        draw_sheet(path, model, chosen[begin : begin + _ON_A_SHEET], found, title)
    return lines


def find(model: trained.Trained, least_scores: np.ndarray) -> Found:
    """Runs detection in every readable image of the source; returns the detections by image id.

    Args:
      model: the detector and its images.
      least_scores: `[C]`, the lowest score of detections of each class.
    """
    found = {}
    with model.loading.evaluation_batches(model.source, model.batch_size) as batches:
        for batch in batches:
            detections = jax.device_get(model.predict(*model.placed.on_devices(batch)))
            for image_id, boxes, scores, labels, valid in zip(
                batch["image_id"], *detections, strict=True
            ):
                shown = valid & (scores >= least_scores[labels])
                found[int(image_id)] = (boxes[shown], labels[shown], scores[shown])
    return found


def worst_first(source: Source, found: Found) -> tuple[np.ndarray, dict[int, str]]:
    """All images of the source by ascending F1, and for equal F1 by descending number of errors.

    Images that could not be read come last.

    Returns:
      the positions of the images, and for each image that was read a line with its errors.
    """
    keys, lines = [], {}
    for index in range(len(source)):
        of_image = found.get(source.image_id(index))
        if of_image is None:
            keys.append((2.0, 0))
            continue
        truth = source.annotations(index)
        score = score_image(truth.boxes, truth.labels, *of_image, crowd=truth.crowd | truth.ignored)
        keys.append((score.f1, -score.wrong - score.missed))
        lines[index] = (
            f"  F1 {score.f1:.2f}: {score.missed} missed, {score.wrong} wrong, {score.found} found "
            f"in {printable(source.describe(index))}"
        )
    first, second = np.array(keys, np.float64).reshape(-1, 2).T
    return np.lexsort((second, first)), lines


def draw_sheet(
    path: pathlib.Path, model: trained.Trained, chosen: np.ndarray, found: Found, title: str
) -> None:
    """Draws some images on a sheet, except those that could not be read."""
    examples = [
        select_objects(example, ~example.ignored)
        for example in (
            model.source.load(index, _SIDES)
            for index in chosen.tolist()
            if model.source.image_id(index) in found
        )
    ]
    sizes = {model.source.image_id(index): model.source.sizes[index] for index in chosen.tolist()}
    images = [np.asarray(example.image) for example in examples]
    detections = []
    for example, image in zip(examples, images, strict=True):
        boxes, labels, scores = found[example.image_id]
        # The image may have been decoded at a fraction of its size.
        detections.append((boxes * (image.shape[0] / sizes[example.image_id][0]), labels, scores))
    plotting.contact_sheet(
        path,
        images,
        [(example.boxes, example.labels) for example in examples],
        detections,
        model.source.classes,
        score_threshold=0.0,
        title=title,
    )
