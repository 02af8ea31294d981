"""A small data set in COCO's format on disk, and what can be done to it."""

import dataclasses
import json
import pathlib

import numpy as np
import PIL.Image

from ioub_jax.data.sources.coco import CocoSource

SIZES = {1: (48, 64), 2: (60, 40), 3: (32, 32)}
NAMES = {1: "a.jpg", 2: "sub folder/b.png", 3: "größe 漢字.jpg"}
GOOD = {
    "images": [
        {"id": number, "file_name": NAMES[number], "height": height, "width": width}
        for number, (height, width) in SIZES.items()
    ],
    "annotations": [
        {"id": 11, "image_id": 1, "category_id": 2, "bbox": [8, 4, 16, 20], "area": 200},
        {"id": 12, "image_id": 2, "category_id": 7, "bbox": [0, 0, 40, 60], "iscrowd": 1},
        {"id": 13, "image_id": 2, "category_id": 2, "bbox": [1.5, 2.5, 10, 9.5], "area": 50.5},
        {"id": 14, "image_id": 3, "category_id": 7, "bbox": [30, 30, 2, 2]},
    ],
    "categories": [{"id": 7, "name": "dog"}, {"id": 2, "name": "cat"}],
}
EVERYTHING = {1: [11], 2: [12, 13], 3: [14]}


@dataclasses.dataclass
class Folder:
    """A small data set on disk; the damage is done to it."""

    root: pathlib.Path

    @property
    def json(self):
        return self.root / "instances.json"

    def image(self, number):
        return self.root / "images" / NAMES[number]

    def edit(self, key, index, **changes):
        """Changes fields of one entry of the JSON; `...` removes one."""
        content = json.loads(self.json.read_text())
        entry = content[key][index]
        entry |= changes
        content[key][index] = {name: value for name, value in entry.items() if value is not ...}
        self.json.write_text(json.dumps(content))

    def change(self, key, function):
        """Changes one list of the JSON."""
        content = json.loads(self.json.read_text())
        content[key] = function(content[key])
        self.json.write_text(json.dumps(content))

    def source(self, on_error="raise"):
        return CocoSource(self.json, self.root / "images", on_error=on_error)


def create(tmp_path):
    """Writes the images and the JSON."""
    data = Folder(tmp_path)
    (tmp_path / "images/sub folder").mkdir(parents=True)
    for number, (height, width) in SIZES.items():
        row, column = np.mgrid[:height, :width]
        pixels = np.stack([row * 4, column * 3, row + column], axis=-1).astype(np.uint8)
        PIL.Image.fromarray(pixels).save(data.image(number))
    data.json.write_text(json.dumps(GOOD))
    return data


def edit_annotation(index, **changes):
    return lambda folder: folder.edit("annotations", index, **changes)


def edit_image(index, **changes):
    return lambda folder: folder.edit("images", index, **changes)


def edit_list(key, function):
    return lambda folder: folder.change(key, function)


def write_json(text, encoding="utf-8"):
    return lambda folder: folder.json.write_text(text, encoding=encoding)


def without(key):
    return write_json(json.dumps({name: value for name, value in GOOD.items() if name != key}))


def write_image(number, data):
    return lambda folder: folder.image(number).write_bytes(data)


def left(source):
    """The annotation ids of each image, told apart by their boxes."""
    ids = {(*entry["bbox"][:2],): entry["id"] for entry in GOOD["annotations"]}
    examples = [source.annotations(index) for index in range(len(source))]
    return {
        e.image_id: [ids[tuple(box[:2].tolist())] for box in e.boxes[~e.ignored]] for e in examples
    }
