"""Small valid files of every format, with which fuzzing begins."""

import functools
import io
import json

import numpy as np
import PIL.Image
import safetensors.numpy

from configs import shapes_retinanet
from experiments.fuzz import torch_bytes
from experiments.fuzz.cases import Files
from ioub_jax.workdirs import configuration

_XML = (
    "<annotation><folder>JPEGImages</folder><filename>{name}.png</filename><size><width>{width}"
    "</width><height>{height}</height><depth>3</depth></size>{objects}</annotation>"
)
_OBJECT = (
    "<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>3</xmin><ymin>4</ymin>"
    "<xmax>{}</xmax><ymax>20.5</ymax></bndbox></object>"
)
_SIZES = {"a": (32, 40), "größe b": (40, 32)}  # height and width


@functools.cache
def _pixels(height: int, width: int) -> PIL.Image.Image:
    """Returns noise that is smooth enough for JPEG."""
    rng = np.random.default_rng(height)
    coarse = PIL.Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
    return coarse.resize((width, height))


def _encoded(image: PIL.Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def _images(folder: str) -> Files:
    return {
        f"{folder}/{name}.png": _encoded(_pixels(*size), "PNG") for name, size in _SIZES.items()
    }


def _ground_truth() -> dict[str, list[dict[str, object]]]:
    polygon = [[5.0, 5.0, 20.0, 6.0, 18.0, 25.0]]
    mask = {"size": [32, 40], "counts": [100, 20, 60, 20, 1080]}
    return {
        "images": [
            {"id": number, "file_name": f"{name}.png", "height": height, "width": width}
            for number, (name, (height, width)) in enumerate(_SIZES.items(), start=1)
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 3, "bbox": [2, 3, 20.5, 9], "area": 184.5},
            {"id": 2, "image_id": 1, "category_id": 7, "bbox": [0, 0, 40, 32], "iscrowd": 1},
            {"id": 3, "image_id": 2, "category_id": 7, "segmentation": polygon, "iscrowd": 0},
            {"id": 4, "image_id": 1, "category_id": 3, "segmentation": mask, "ignored": 1},
            {"id": 5, "image_id": 2, "category_id": 3, "keypoints": [4, 5, 2, 9, 12, 1]},
            {"id": 6, "image_id": 2, "category_id": 3, "bbox": [9, 9, 5, 4],
             "attributes": {"rotation": 30.0}},
        ],
        "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
    }  # fmt: skip


def coco() -> list[Files]:
    """COCO's JSON with its images."""
    text = json.dumps(_ground_truth()).encode()
    return [{"instances_train.json": text, **_images("images")}]


def yolo() -> list[Files]:
    """A folder with a data.yaml, one with darknet's obj.data, and all kinds of label files."""
    rows = b"0 0.5 0.5 0.25 0.5\n1 0.1 0.1 0.6 0.1 0.6 0.7\n"
    labels = {f"labels/train/{name}.txt": rows for name in _SIZES}
    names = b"path: .\ntrain: images/train\nval: images/train\nnames:\n  0: cat\n  1: dog\n"
    flat = b"train: images/train\nnc: 2\nnames: ['cat', 'dog']\n"
    listed = "\n".join(f"data/obj/{name}.png" for name in _SIZES).encode()
    darknet = {f"obj/{name}.txt": b"1 0.5 0.5 1.0 1.0\n" for name in _SIZES}
    description = b"classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n"
    images = _images("images/train")
    return [
        {"data.yaml": names, **labels, **images},
        {"data.yaml": flat, **labels, **images},
        {"obj.data": description, "obj.names": b"cat\ndog\n", "train.txt": listed, **darknet}
        | _images("obj"),
        {"classes.txt": b"cat\ndog\n", **labels, **images},
    ]


def voc() -> list[Files]:
    """A folder like the devkit's, with a list, and one of XMLs beside their images."""
    objects = _OBJECT.format("cat", 0, 18) + _OBJECT.format("dog", 1, 27)
    xmls = {
        name: _XML.format(name=name, width=width, height=height, objects=objects).encode()
        for name, (height, width) in _SIZES.items()
    }
    listed = "\n".join(_SIZES).encode()
    devkit = {f"Annotations/{name}.xml": text for name, text in xmls.items()}
    beside = {f"{name}.xml": text for name, text in xmls.items()}
    flat = {name.removeprefix("x/"): image for name, image in _images("x").items()}
    return [
        {**devkit, "ImageSets/Main/train.txt": listed, **_images("JPEGImages")},
        {**beside, **flat},
    ]


def cityscapes() -> list[Files]:
    """One image with an object, one in front of it, a group and a deleted object."""
    corners = [[2, 2], [30, 2], [30, 20], [2, 20]]
    nearer = [[10, 4], [25, 4], [25, 12]]
    objects = [
        {"label": "road", "polygon": [[0, 0], [39, 0], [39, 31], [0, 31]]},
        {"label": "car", "polygon": corners},
        {"label": "person", "polygon": nearer, "deleted": 0},
        {"label": "cargroup", "polygon": [[3, 22], [20, 22], [20, 30]]},
        {"label": "bus", "polygon": corners, "deleted": 1},
    ]
    content = {"imgHeight": 32, "imgWidth": 40, "objects": objects}
    name = "train/aachen/aachen_000000_000019"
    return [
        {
            f"gtFine/{name}_gtFine_polygons.json": json.dumps(content).encode(),
            f"leftImg8bit/{name}_leftImg8bit.png": _encoded(_pixels(32, 40), "PNG"),
        }
    ]


def weights() -> list[Files]:
    """The same tensor in safetensors and in both formats of `torch.save`."""
    named = {"module.conv.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}
    saved = {"state_dict": {"conv.weight": torch_bytes.tensor()}, "epoch": 3}
    return [
        {"weights.safetensors": safetensors.numpy.save(named)},
        {"weights.pth": torch_bytes.archive(saved)},
        {"weights.pth": torch_bytes.stream(saved)},
    ]


def detections() -> list[Files]:
    """Detections in COCO's format with their ground truth."""
    found = [
        {"image_id": 1, "category_id": 3, "bbox": [2, 3, 20, 9], "score": 0.9},
        {"image_id": 1, "category_id": 7, "bbox": [1.5, 2, 30, 30], "score": 0.25},
        {"image_id": 2, "category_id": 3, "bbox": [9, 9, 5, 4], "score": 0.25},
    ]
    return [
        {
            "detections.json": json.dumps(found).encode(),
            "ground_truth.json": json.dumps(_ground_truth()).encode(),
        }
    ]


def config() -> list[Files]:
    """A workdir's config.json, and values for a few keys as they are typed after --config."""
    settings = configuration.to_dict(shapes_retinanet.get_config())
    typed = (
        "data.canvases=((64, 64), (32, 96))\nloss.classification.eta=1.0\nmodel.backbone=resnet18\n"
        "optimizer.betas=0.9,0.95\ndata.split.val=0.1\nevaluation.metrics=coco,voc\n"
        "schedule.decay_at=(0.5, 0.9)\nmodel.pretrained=None\ndata.coco.classes=cat,dog\n"
    )
    return [{"config.json": json.dumps(settings).encode(), "flags.txt": typed.encode()}]


def image() -> list[Files]:
    """Images in every supported format, each as a case."""
    color = _pixels(24, 20)
    deep = PIL.Image.fromarray(np.arange(480, dtype=np.uint16).reshape(24, 20) * 130)
    exif = PIL.Image.Exif()
    exif[274] = 6  # rotated by 90 degrees
    chosen = {
        "a.jpg": _encoded(color, "JPEG"),
        "progressive.jpg": _encoded(color, "JPEG", progressive=True, exif=exif),
        "cmyk.jpg": _encoded(color.convert("CMYK"), "JPEG"),
        "a.png": _encoded(color, "PNG"),
        "alpha.png": _encoded(color.convert("RGBA"), "PNG"),
        "palette.png": _encoded(color.convert("P"), "PNG"),
        "deep.png": _encoded(deep, "PNG"),
        "a.tif": _encoded(color, "TIFF"),
        "deep.tif": _encoded(deep, "TIFF"),
        "packed.tif": _encoded(color, "TIFF", compression="tiff_lzw"),
        "a.bmp": _encoded(color, "BMP"),
        "a.webp": _encoded(color, "WEBP", lossless=True),
        "a.gif": _encoded(color.convert("P"), "GIF"),
        "a.ppm": _encoded(color, "PPM"),
    }
    return [{name: content} for name, content in chosen.items()]
