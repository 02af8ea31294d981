"""Galleries of a report: worst and best images, false detections by kind, misses by size."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from ioub_jax.evaluation.detection_kinds import (
    BACKGROUND,
    BOTH,
    CONFUSED,
    DUPLICATE,
    KINDS,
    MISPLACED,
)
from ioub_jax.report.html_elements import (
    Html,
    counted,
    decimals,
    element,
    file_html,
    joined,
    name_html,
)
from ioub_jax.report.measurement import Measured

#: The default number of pictures in a gallery; the gallery of the worst images has twice as many.
PICTURES = 12

_KINDS_TOLD = {
    CONFUSED: "an object of another class, overlapped by .5 or more",
    MISPLACED: "an object of its class, overlapped by .1 to .5 only",
    BOTH: "an object of another class, overlapped by .1 to .5 only",
    DUPLICATE: "an object that a better detection has found",
    BACKGROUND: "nothing: no object is overlapped by more than .1",
}


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image with its detections.

    Attributes:
      run: the position of the run whose detections are shown, among the runs of the report.
      image: the number of the image, from 0.
      caption: a description of the picture.
      classes: the numbers of the classes that are involved.
      detection: the position of the detection that is the subject; None if there is none.
      box: the position of the ground-truth box that is the subject; None if there is none.
    """

    run: int
    image: int
    caption: Html
    classes: tuple[int, ...]
    detection: int | None = None
    box: int | None = None


@dataclasses.dataclass(frozen=True)
class Gallery:
    """A group of pictures.

    Attributes:
      name: its id on the page.
      title: its heading.
      text: a description of what it shows.
      pictures: its pictures, the most relevant first.
    """

    name: str
    title: str
    text: str
    pictures: tuple[Picture, ...]


def galleries_of(measured: Measured, count: int = PICTURES) -> list[Gallery]:
    """The galleries of a report.

    Args:
      measured: the measurements to show.
      count: the maximum number of pictures in a gallery; that of the worst images has twice as
        many.
    """
    return [
        _worst(measured, 2 * count),
        *(_false(measured, kind, told, count) for kind, told in _KINDS_TOLD.items()),
        *_missed(measured, count),
        _best(measured, count),
    ]


def whole_image(measured: Measured, run: int, image: int, *, by_object: bool = False) -> Picture:
    """A picture of all right and wrong boxes in an image.

    Args:
      measured: the measurements to show.
      run: 0, or 1 for the second of two runs.
      image: the number of the image.
      by_object: whether the caption states the error, which is the cost per detection and missed
        object, instead of the cost.
    """
    errors = measured.image_errors
    numbers = (errors.true[image], errors.false[image], errors.missed[image])
    told = ", ".join(
        f"{number} {word}"
        for number, word in zip(numbers, ("true", "false", "missed"), strict=True)
    )
    told += f"; cost {decimals(errors.cost[image], 1)}"
    if by_object:
        told += f", error {decimals(errors.error[image], 2)}"
    caption = _caption(measured, image, told)
    return Picture(run, image, caption, measured.classes_of_images[image])


def worst_first(measured: Measured) -> np.ndarray:
    """The numbers of the images with errors, in descending order of their cost."""
    cost = measured.image_errors.cost
    order = np.argsort(-cost, kind="stable")
    return order[cost[order] > 0]


def _worst(measured: Measured, count: int) -> Gallery:
    chosen = worst_first(measured)[:count].tolist()
    return Gallery(
        "worst",
        "The worst images",
        "The highest cost first: 1 for a false detection and for a missed object, and up to 1 for "
        "a true detection that fits badly.",
        tuple(whole_image(measured, 0, image) for image in chosen),
    )


def _best(measured: Measured, count: int) -> Gallery:
    errors = measured.image_errors
    there = np.flatnonzero((errors.boxes > 0) & (errors.true > 0))
    order = np.lexsort((there, -errors.boxes[there], errors.error[there]))
    return Gallery(
        "best",
        "The best images",
        "Of images with objects, those with the least error: cost over detections and missed "
        "objects.",
        tuple(
            whole_image(measured, 0, image, by_object=True)
            for image in there[order][:count].tolist()
        ),
    )


def _false(measured: Measured, kind: int, told: str, count: int) -> Gallery:
    compared, kinds = measured.compared, measured.kinds
    order = compared.best_first
    order = order[measured.cut.kept[order] & (kinds.kinds[order] == kind)]
    chosen = order[_first_of_each(compared.found.images[order])][:count]
    total = counted(len(order), "detection")
    return Gallery(
        f"false-{KINDS[kind]}",
        f"False detections: {KINDS[kind]}",
        f"{total} of {told}. The highest scores first, one an image.",
        tuple(_false_picture(measured, number) for number in chosen.tolist()),
    )


def _false_picture(measured: Measured, detection: int) -> Picture:
    compared, kinds = measured.compared, measured.kinds
    image = int(compared.found.images[detection]) - 1
    label, box = int(compared.found.classes[detection]), int(kinds.objects[detection])
    said = joined(
        name_html(measured.class_names[label]), f" {decimals(compared.scores[detection], 2)}"
    )
    classes = {label}
    if box >= 0:
        other = int(compared.objects.classes[box])
        classes.add(other)
        where = f", IoU {decimals(kinds.ious[detection], 2)} with "
        said = joined(said, where, name_html(measured.class_names[other]))
    return Picture(
        0,
        image,
        _caption(measured, image, said),
        tuple(sorted(classes)),
        detection,
        box if box >= 0 else None,
    )


def _missed(measured: Measured, count: int) -> Iterable[Gallery]:
    sizes = next(grouping for grouping in measured.groupings if grouping.name == "size")
    for number, group in enumerate(sizes.groups):
        boxes = np.flatnonzero(measured.cut.missed & group.objects)
        chosen = _of_each_class(boxes, measured.compared.objects.classes[boxes])[:count]
        yield Gallery(
            f"missed-{number}",
            f"Missed objects: {group.name}",
            f"{len(boxes):,} of {group.boxes:,} objects of this size. One of each class in turn.",
            tuple(_missed_picture(measured, box) for box in chosen.tolist()),
        )


def _missed_picture(measured: Measured, box: int) -> Picture:
    compared = measured.compared
    image, label = int(compared.objects.images[box]) - 1, int(compared.objects.classes[box])
    width, height = compared.objects.boxes[box, 2:].tolist()
    told = joined(
        name_html(measured.class_names[label]),
        f", {width:.0f} x {height:.0f} px: ",
        _why(measured, box),
    )
    return Picture(0, image, _caption(measured, image, told), (label,), None, box)


def _why(measured: Measured, box: int) -> Html:
    """Describes why a box is missed."""
    compared, kinds, thresholds = measured.compared, measured.kinds, measured.cut.thresholds
    finder, mender = int(kinds.found_by[box]), int(kinds.mended_by[box])
    if finder >= 0:
        least = thresholds[int(compared.found.classes[finder])]
        score = decimals(compared.scores[finder], 2)
        return joined(f"found with a score of {score}, below {decimals(least, 2)}")
    if mender < 0:
        return joined("no detection overlaps it")
    score = decimals(compared.scores[mender], 2)
    if kinds.kinds[mender] == MISPLACED:
        return joined(f"only an IoU of {decimals(kinds.ious[mender], 2)}, score {score}")
    taken_for = measured.class_names[int(compared.found.classes[mender])]
    return joined("taken for ", name_html(taken_for), f", score {score}")


def _caption(measured: Measured, image: int, told: object) -> Html:
    name = element("span", file_html(measured.images[image].name), class_="file")
    return joined(name, element("span", told))


def _first_of_each(values: np.ndarray) -> np.ndarray:
    """Returns the position of the first occurrence of each value, in ascending order."""
    return np.sort(np.unique(values, return_index=True)[1])


def _of_each_class(boxes: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Returns boxes of each class in turn, in random order within a class, with a fixed seed."""
    order = np.random.default_rng(0).permutation(len(boxes))
    order = order[np.argsort(classes[order], kind="stable")]
    ordered = classes[order]
    turns = np.arange(len(order)) - np.searchsorted(ordered, ordered, side="left")
    return boxes[order[np.argsort(turns, kind="stable")]]


def pictured(galleries: Sequence[Gallery]) -> list[Picture]:
    """All pictures of some galleries."""
    return [picture for gallery in galleries for picture in gallery.pictures]
