"""Data sets that TFDS prepares on the spot, without TensorFlow, in the structure of its own."""

import json
import pathlib
from xml.etree import ElementTree

import numpy as np
import tensorflow_datasets as tfds

from ioub_jax.data.sources.voc import VOC_CLASSES

POSES = ("frontal", "rear", "left", "right", "unspecified")

# Without objects 250 and 508, gray 86, with crowds 149 and 257.
COCO_TRAIN = (9, 25, 86, 149, 250, 257, 508)
COCO_VALIDATION = (30, 34)


class Generated(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Prepares the examples it is given: `splits` has those of each split, by key."""

    VERSION = tfds.core.Version("1.0.0")
    features: tfds.features.FeaturesDict
    splits: dict[str, dict[str, dict]]

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=self.features)

    def _split_generators(self, dl_manager):
        del dl_manager
        return {name: self._generate_examples(name) for name in self.splits}

    def _generate_examples(self, split):
        yield from self.splits[split].items()


def prepare(data_dir, name, features, splits, version="1.0.0", config=None):
    """Prepares a data set as ArrayRecord files and returns its folder."""
    body = {
        "name": name,
        "VERSION": tfds.core.Version(version),
        "features": tfds.features.FeaturesDict(features),
        "splits": splits,
        # TFDS looks for files beside a module that is in a package; there are none.
        "__module__": "prepared",
    }
    if config is not None:
        body["BUILDER_CONFIGS"] = [tfds.core.BuilderConfig(name=config, version=version)]
    kind = type("Prepared", (Generated,), body, skip_registration=True)
    builder = kind(data_dir=str(data_dir), file_format="array_record")
    builder.download_and_prepare()
    return pathlib.Path(builder.data_dir)


def read_categories(coco_mini):
    """The category list of the miniature COCO, in the order of its JSON."""
    content = json.loads((coco_mini / "annotations/instances_train2017.json").read_text())
    return content["categories"]


def prepare_coco(data_dir, coco_mini, reverse_names=False):
    """`coco/2017` over a part of the miniature COCO, with the features of TFDS's builder."""
    names = [category["name"] for category in read_categories(coco_mini)]
    features = {
        "image": tfds.features.Image(encoding_format="jpeg"),
        "image/filename": tfds.features.Text(),
        "image/id": np.int64,
        "objects": tfds.features.Sequence(
            {
                "id": np.int64,
                "area": np.int64,
                "bbox": tfds.features.BBoxFeature(),
                "label": tfds.features.ClassLabel(names=names[::-1] if reverse_names else names),
                "is_crowd": np.bool_,
            }
        ),
    }
    splits = {
        "train": _coco_examples(coco_mini, COCO_TRAIN),
        "validation": _coco_examples(coco_mini, COCO_VALIDATION),
    }
    return prepare(data_dir, "coco", features, splits, "1.1.0", "2017")


def _coco_examples(coco_mini, image_ids):
    """The arithmetic of `_generate_examples` in TFDS's object_detection/coco.py."""
    content = json.loads((coco_mini / "annotations/instances_train2017.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    examples = {}
    for image in content["images"]:
        if image["id"] not in image_ids:
            continue
        objects = sorted(
            (one for one in content["annotations"] if one["image_id"] == image["id"]),
            key=lambda one: one["id"],
        )
        examples[image["file_name"]] = {
            "image": str(coco_mini / "train2017" / image["file_name"]),
            "image/filename": image["file_name"],
            "image/id": image["id"],
            "objects": [
                {
                    "id": one["id"],
                    "area": one["area"],
                    "bbox": _coco_box(*one["bbox"], image["width"], image["height"]),
                    "label": names[one["category_id"]],
                    "is_crowd": bool(one["iscrowd"]),
                }
                for one in objects
            ],
        }
    return examples


def _coco_box(x, y, width, height, image_width, image_height):
    return tfds.features.BBox(
        ymin=y / image_height,
        xmin=x / image_width,
        ymax=(y + height) / image_height,
        xmax=(x + width) / image_width,
    )


def prepare_voc(data_dir, voc_folder, names):
    """`voc/2012` over some images of a VOC folder, with the features of TFDS's builder."""
    labels = tfds.features.ClassLabel(names=VOC_CLASSES)
    features = {
        "image": tfds.features.Image(),
        "image/filename": tfds.features.Text(),
        "objects": tfds.features.Sequence(
            {
                "label": labels,
                "bbox": tfds.features.BBoxFeature(),
                "pose": tfds.features.ClassLabel(names=POSES),
                "is_truncated": np.bool_,
                "is_difficult": np.bool_,
            }
        ),
        "labels": tfds.features.Sequence(labels),
        "labels_no_difficult": tfds.features.Sequence(labels),
    }
    examples = {name: _voc_example(voc_folder, name) for name in names}
    return prepare(data_dir, "voc", features, {"train": examples}, "5.0.0", "2012")


def _voc_example(voc_folder, name):
    """The arithmetic of `_generate_example` in TFDS's object_detection/voc.py."""
    root = ElementTree.parse(voc_folder / "Annotations" / f"{name}.xml").getroot()
    width, height = (float(root.findtext(f"size/{side}")) for side in ("width", "height"))
    objects = []
    for one in root.findall("object"):
        xmin, ymin, xmax, ymax = (
            float(one.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")
        )
        objects.append(
            {
                "label": one.findtext("name").lower(),
                "bbox": tfds.features.BBox(
                    ymin / height, xmin / width, ymax / height, xmax / width
                ),
                "pose": one.findtext("pose").lower(),
                "is_truncated": one.findtext("truncated") == "1",
                "is_difficult": one.findtext("difficult") == "1",
            }
        )
    easy = {one["label"] for one in objects if not one["is_difficult"]}
    return {
        "image": str(voc_folder / "JPEGImages" / f"{name}.jpg"),
        "image/filename": f"{name}.jpg",
        "objects": objects,
        "labels": sorted({one["label"] for one in objects}),
        "labels_no_difficult": sorted(easy),
    }


def plain_features(**objects):
    """An image and boxes of any four numbers, since what TFDS checks could not be wrong."""
    box = tfds.features.BBoxFeature(bbox_format=None)
    return {
        "image": tfds.features.Image(),
        "objects": tfds.features.Sequence({"bbox": box, **objects}),
    }
