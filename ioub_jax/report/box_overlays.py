"""Boxes drawn over a picture as SVG: colored and dashed by kind, with their names as text."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from ioub_jax.evaluation.detection_kinds import KINDS
from ioub_jax.printing import printable
from ioub_jax.report.embedded_images import Box
from ioub_jax.report.html_elements import Html, counted, decimals, element
from ioub_jax.report.measurement import Measured

#: The kinds of boxes in a picture, in the order of the legend, and their names in it.
SHOWN_KINDS = {
    "true": "true",
    "duplicate": "duplicate",
    "misplaced": "misplaced (localization)",
    "confused": "confused (classification)",
    "both": "both",
    "background": "background",
    "truth": "object, found",
    "missed": "object, missed",
    "crowd": "crowd or region to ignore",
}
#: The most boxes in all pictures of a report together; they are divided among the pictures.
MOST_BOXES = 24_000
_MOST_OF_ONE, _LEAST_OF_ONE = 200, 20  # detections in a picture, and as many objects
_LETTERS, _LETTERS_TOLD = 24, 40
_EDGE = 0.03  # of the image's height; this close to the edge, a name does not fit outside the box


@dataclasses.dataclass(frozen=True)
class _Shown:
    """A box to draw: `name`, `kind`, `box` (xywh), short `label`, and its description `told`."""

    name: str
    kind: str
    box: Box
    label: str
    told: str


class Overlays:
    """Draws the detections and the ground truth of an image.

    Args:
      measured: the measurements of the detections.
      pictures: the number of images in the report that have boxes.
    """

    def __init__(self, measured: Measured, pictures: int) -> None:
        self._measured = measured
        share = MOST_BOXES // max(2 * pictures, 1)
        self._most = min(max(share, _LEAST_OF_ONE), _MOST_OF_ONE)
        compared = measured.compared
        kept = compared.best_first[measured.cut.kept[compared.best_first]]
        self._found = kept[np.argsort(compared.found.images[kept], kind="stable")]
        self._objects = np.argsort(compared.objects.images, kind="stable")

    def overlay(self, name: str, image: int) -> Html:
        """The boxes of an image, which is numbered from 0, as a group with an id."""
        compared = self._measured.compared
        found = _of_image(self._found, compared.found.images, image)
        objects = _of_image(self._objects, compared.objects.images, image)
        left_out = len(found[self._most :]) + len(objects[self._most :])
        shown = [self._object(box) for box in objects[: self._most].tolist()]
        # The best detections are drawn last, above the others.
        shown += [self._detection(number) for number in found[: self._most].tolist()[::-1]]
        more = f"{counted(left_out, 'box', 'boxes')} more" if left_out else None
        size = self._measured.images[image].size
        height = None if size is None else size[1]
        boxes = (_box(one, height) for one in shown)
        return element("g", *_halos(shown), *boxes, id=name, data_more=more)

    def _object(self, number: int) -> _Shown:
        measured, compared = self._measured, self._measured.compared
        class_name = measured.class_names[int(compared.objects.classes[number])]
        kind = "truth" if measured.cut.found[number] else "missed"
        kind = "crowd" if compared.crowd[number] else kind
        box = compared.objects.boxes[number].tolist()
        told = f"{SHOWN_KINDS[kind]}: {_short(class_name, _LETTERS_TOLD)}"
        return _Shown(f"g{number}", kind, tuple(box), _short(class_name), told)

    def _detection(self, number: int) -> _Shown:
        measured, compared, kinds = self._measured, self._measured.compared, self._measured.kinds
        kind, score = KINDS[kinds.kinds[number]], decimals(compared.scores[number], 2)
        class_name = measured.class_names[int(compared.found.classes[number])]
        told = f"{kind}: {_short(class_name, _LETTERS_TOLD)} {score}"
        if (box := int(kinds.objects[number])) >= 0:
            of_box = measured.class_names[int(compared.objects.classes[box])]
            iou = decimals(kinds.ious[number], 2)
            told += f", IoU {iou} with {_short(of_box, _LETTERS_TOLD)}"
        return _Shown(
            f"d{number}",
            kind,
            tuple(compared.found.boxes[number].tolist()),
            f"{_short(class_name)} {score}",
            told,
        )


def _short(name: str, letters: int = _LETTERS) -> str:
    name = printable(name)
    return name if len(name) <= letters else f"{name[: letters - 1]}…"


def _of_image(order: np.ndarray, images: np.ndarray, image: int) -> np.ndarray:
    """Returns the positions of an image's entries; `order` sorts all entries by image."""
    bounds = np.searchsorted(images[order], (image + 1, image + 2))
    return order[bounds[0] : bounds[1]]


def _halos(shown: list[_Shown]) -> Iterator[Html]:
    """Yields outlines that separate the boxes from any background, one path for each kind."""
    for kind in SHOWN_KINDS:
        path = "".join(outline(one.box) for one in shown if one.kind == kind)
        if path:
            yield element("path", d=path, class_=f"halo k-{kind}")


def _box(one: _Shown, height: float | None) -> Html:
    """Returns a box with its name; the height of the image may be unknown."""
    is_object = one.kind in ("truth", "missed", "crowd")
    x, y = max(one.box[0], 0.0), one.box[1] + (one.box[3] if is_object else 0)
    # The name is above a detection and below an object, so that both are legible, and inside the
    # image.
    below = is_object if height is None else y < (1 - _EDGE if is_object else _EDGE) * height
    if height is not None:
        y = min(max(y, 0.0), height)
    place = {"x": _rounded(x), "y": _rounded(y), "dy": ".95em" if below else "-.25em"}
    text = element("text", one.label, **place)
    title, path = element("title", one.told), element("path", d=outline(one.box))
    return element("g", title, path, text, class_=f"b k-{one.kind}", data_n=one.name)


def outline(box: Box) -> str:
    """The outline of a box, xywh, as a path."""
    x, y, width, height = map(_rounded, box)
    return f"M{x} {y}h{width}v{height}h-{width}z"


def _rounded(value: float) -> str:
    """Returns a short text for a coordinate; points far outside any image are moved closer."""
    return f"{min(max(value, -1e5), 1e5):.1f}".removesuffix(".0")


def legend(*, with_switches: bool) -> Html:
    """The meaning of colors and dashes, with switches in the legend of the enlarged picture."""
    entries = []
    for kind, told in SHOWN_KINDS.items():
        sample = element("path", d="M2 2H22V12H2Z", class_=f"b k-{kind}")
        halo = element("path", d="M2 2H22V12H2Z", class_="halo")
        drawn = element("svg", halo, sample, viewBox="0 0 24 14", aria_hidden="true")
        if with_switches:
            switch = element("input", type="checkbox", checked=True, data_kind=kind)
            entries.append(element("li", element("label", switch, drawn, told)))
        else:
            entries.append(element("li", drawn, told))
    return element("ul", *entries, class_="kinds" if with_switches else "kinds row")
