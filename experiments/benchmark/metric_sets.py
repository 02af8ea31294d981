"""Small detection sets on which metric libraries may differ, in COCO's format."""

from collections.abc import Iterable, Sequence
from typing import Any

Sets = dict[str, tuple[dict[str, Any], list[dict[str, Any]]]]
Box = Sequence[float]

# An object's flags besides its box, and a detection's score.
_Object = tuple[int, int, Box, dict[str, int]]
_Found = tuple[int, int, Box, float]


def made_sets() -> Sets:
    """Name of a set -> ground truth and COCO results; the name states the rule that is tested."""
    return {
        "7 of 10 objects found": _found_in_order(10, 7),
        "equal scores": _equal_scores(),
        "equal scores, images listed from the last": _listed_from_the_last(),
        "a crowd": _crowd(),
        "ignore: 1": _set([(1, 1, _cell(0), {}), (1, 1, _cell(1), {"ignore": 1})], _perfect([0])),
        "150 objects of a class": _found_in_order(150, 150),
        "75 objects of each of two classes": _two_classes(),
        "a class without objects": _set(
            [(1, 1, _cell(0), {})], [*_perfect([0]), (1, 2, _cell(5), 0.5)]
        ),
        "a class without detections": _set(
            [(1, 1, _cell(0), {}), (1, 2, _cell(5), {})], _perfect([0])
        ),
        "an image without objects": _set(
            [(1, 1, _cell(0), {})], [(2, 1, _cell(0), 0.9), (1, 1, _cell(0), 0.8)]
        ),
    }


def _cell(number: int) -> Box:
    """Returns the 20x20 box in a cell of 40x40; the cells are numbered row by row."""
    row, column = divmod(number, 15)
    return (40.0 * column + 10.0, 40.0 * row + 10.0, 20.0, 20.0)


def _perfect(cells: Iterable[int], category: int = 1) -> list[_Found]:
    return [(1, category, _cell(cell), 0.9 - cell / 1000) for cell in cells]


def _found_in_order(objects: int, found: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Returns an image with objects of one class, of which the first `found` are detected."""
    truth: list[_Object] = [(1, 1, _cell(cell), {}) for cell in range(objects)]
    return _set(truth, _perfect(range(found)))


def _two_classes() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Returns an image with 150 objects, all found; no class has more than 100 detections."""
    truth: list[_Object] = [(1, 1 + cell // 75, _cell(cell), {}) for cell in range(150)]
    return _set(truth, [*_perfect(range(75)), *_perfect(range(75, 150), category=2)])


def _equal_scores() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Returns 12 images with a true and a false detection of equal score, the false one first."""
    truth: list[_Object] = [(image, 1, _cell(0), {}) for image in range(1, 13)]
    found: list[_Found] = []
    for image in range(1, 13):
        found += [(image, 1, _cell(9), 0.5), (image, 1, _cell(0), 0.5)]
    return _set(truth, found)


def _listed_from_the_last() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Returns 12 images: 6 with an object and a true detection, then 6 with a false detection.

    Images and detections are listed in reverse order.
    """
    truth: list[_Object] = [(image, 1, _cell(0), {}) for image in range(1, 7)]
    found: list[_Found] = [(image, 1, _cell(0), 0.5) for image in range(12, 0, -1)]
    content, results = _set(truth, found)
    content["images"].reverse()
    return content, results


def _crowd() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Returns an image with one object, found, and three better detections inside a crowd."""
    truth: list[_Object] = [
        (1, 1, _cell(0), {}),
        (1, 1, (200.0, 200.0, 300.0, 200.0), {"iscrowd": 1}),
    ]
    inside: list[_Found] = [
        (1, 1, (210.0 + 60 * number, 220.0, 40.0, 60.0), 0.95) for number in range(3)
    ]
    return _set(truth, [*inside, *_perfect([0])])


def _set(
    objects: Sequence[_Object], found: Sequence[_Found]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    images = sorted({image for image, *_ in (*objects, *found)})
    categories = sorted({category for _, category, *_ in (*objects, *found)})
    truth = {
        "images": [
            {"id": image, "width": 640, "height": 480, "file_name": f"{image}.jpg"}
            for image in images
        ],
        "categories": [{"id": category, "name": f"class {category}"} for category in categories],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": category,
                "bbox": list(box),
                "segmentation": [_rectangle(box)],
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            | flags
            for number, (image, category, box, flags) in enumerate(objects, start=1)
        ],
    }
    results = [
        {"image_id": image, "category_id": category, "bbox": list(box), "score": score}
        for image, category, box, score in found
    ]
    return truth, results


def _rectangle(box: Box) -> list[float]:
    x, y, width, height = box
    return [x, y, x + width, y, x + width, y + height, x, y + height]
