"""Hand-made data sets in COCO's and VOC's format."""

import json

import numpy as np
import PIL.Image

from ioub_jax.configs import defaults

SIZE = (48, 64)  # height and width of every image


def write_images(folder, count, suffix="jpg"):
    """Writes 1.jpg, 2.jpg, ...: gray noise."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)
    for number in range(1, count + 1):
        PIL.Image.fromarray(pixels).save(folder / f"{number}.{suffix}")


def coco_content(count=4):
    """Images 1 to `count`, each with a 'cat' and a 'dog' of 20 x 20 and 30 x 24 pixels."""
    height, width = SIZE
    images = [
        {"id": n, "file_name": f"{n}.jpg", "height": height, "width": width}
        for n in range(1, count + 1)
    ]
    annotations = []
    for image in images:
        for category, bbox in ((1, [30, 10, 20, 20]), (2, [34, 24, 30, 24])):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": category,
                    "bbox": bbox,
                    "area": bbox[2] * bbox[3],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_as_corners(content):
    """Makes every box [xmin, ymin, xmax, ymax], one pixel further left in each image."""
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        left = x - annotation["image_id"]
        annotation["bbox"] = [left, y, left + width, y + height]


def write_coco(root, content, images=None):
    """Writes train.json and the folder of its images."""
    write_images(root / "images", len(content["images"]) if images is None else images)
    (root / "train.json").write_text(json.dumps(content))


def coco_config(root, on_error="raise"):
    """The configuration of a folder that `write_coco` wrote."""
    config = defaults.get_config()
    config.data.source = "coco"
    config.data.on_error = on_error
    config.data.canvases = (SIZE,)
    config.anchors.base_scale = 2.0
    config.data.coco.root = str(root)
    config.data.coco.train_annotations = "train.json"
    config.data.coco.train_images = "images"
    return config


def write_voc(root, boxes, count=4):
    """Writes a folder whose images all have the same boxes (xmin, ymin, xmax, ymax), all cats."""
    write_images(root / "JPEGImages", count)
    (root / "Annotations").mkdir()
    objects = ""
    for box in boxes:
        corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        inside = "".join(f"<{name}>{value}</{name}>" for name, value in corners)
        objects += f"<object><name>cat</name><bndbox>{inside}</bndbox></object>"
    size = f"<size><width>{SIZE[1]}</width><height>{SIZE[0]}</height></size>"
    for number in range(1, count + 1):
        path = root / "Annotations" / f"{number}.xml"
        path.write_text(f"<annotation>{size}{objects}</annotation>")


def voc_config(root, on_error="raise"):
    """The configuration of a folder that `write_voc` wrote."""
    config = defaults.get_config()
    config.data.source = "voc"
    config.data.on_error = on_error
    config.data.canvases = (SIZE,)
    config.data.voc.root = str(root)
    config.data.voc.train_split = "all"
    config.data.voc.classes = ("cat",)
    return config
