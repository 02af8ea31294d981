"""Detects objects in files, folders and globs: COCO-format JSON, and PNGs with the boxes.

python -m experiments.predict --model=runs/shapes images/ --output=found
python -m experiments.predict --model=retinanet_resnet50_fpn.pth 'photos/*.jpg' --output=found

`--model` is the workdir of a run, or one of torchvision's detectors, by file or by name. The exit
code is 1 where an image could not be read; the others are done all the same.
"""

import glob
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tqdm
from absl import flags
from PIL import Image

import ioub_jax
from experiments import command_line
from ioub_jax import files, inference
from ioub_jax.data.checks import DataError
from ioub_jax.data.images import read_image
from ioub_jax.plotting import draw_on_image
from ioub_jax.training import preview

_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
_MODEL = flags.DEFINE_string("model", None, "Workdir, or torchvision's file.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Folder for the results, made anew.", required=True)
_CHECKPOINT, _EMA = command_line.define_weights()
_CHANGES = command_line.define_changes("model")
_SCORE = flags.DEFINE_float("score", 0.05, "Lowest score in the JSON.", 0.0, 1.0)
_DRAWN = flags.DEFINE_float("drawn_score", 0.4, "Lowest score of a box that is drawn.", 0.0, 1.0)
_DRAW = flags.DEFINE_bool("draw", True, "Whether to draw PNGs.")
_BATCH = flags.DEFINE_integer("batch_size", None, "Images at a time.", lower_bound=1)
_THREADS = flags.DEFINE_integer("threads", 4, "Threads that read images.", lower_bound=1)


def find_images(arguments: Sequence[str]) -> list[pathlib.Path]:
    """The files that arguments name, each once: files as they are, folders and globs searched.

    Raises:
      DataError: an argument names nothing.
    """
    found: dict[pathlib.Path, None] = {}
    for argument in arguments:
        path = pathlib.Path(argument)
        if path.is_dir():
            matches = sorted(p for p in path.rglob("*") if p.suffix.lower() in _SUFFIXES)
        elif path.is_file() or not glob.has_magic(argument):
            matches = [path]  # one that is not there is named when it is read
        else:
            matches = sorted(pathlib.Path(p) for p in glob.glob(argument, recursive=True))
        if not matches:
            raise DataError(
                f"{argument}: there is no image ({', '.join(sorted(_SUFFIXES))}) there; give "
                "files, folders or globs.",
                "missing_image",
            )
        found |= dict.fromkeys(matches)
    return list(found)


def main(*arguments: str) -> None:
    """Detects, writes and draws."""
    paths = find_images(arguments)
    out = pathlib.Path(_OUTPUT.value)
    files.check_can_write(out)
    detector = ioub_jax.load(
        _MODEL.value,
        checkpoint=_CHECKPOINT.value,
        ema=_EMA.value,
        batch_size=_BATCH.value,
        changes=_CHANGES.value,
    )
    names = picture_names(paths)
    out.mkdir(parents=True, exist_ok=True)
    found: dict[int, inference.Detections] = {}
    problems: dict[int, str] = {}
    for index, detections in progress(detector, paths):
        if isinstance(detections, DataError):
            problems[index] = str(detections)
            continue
        found[index] = detections.above(_SCORE.value)
        if _DRAW.value:
            draw(
                paths[index], found[index].above(_DRAWN.value), detector.classes, out / names[index]
            )
    files.write_json(out / "predictions.json", to_coco(paths, found, detector), indent=1)
    print(
        f"{sum(map(len, found.values()))} detections in {len(found)} images: "
        f"{out / 'predictions.json'}."
    )
    if problems:
        for index in sorted(problems):
            print(f"Not read: {problems[index]}", file=sys.stderr)
        sys.exit(f"{len(problems)} of {len(paths)} images could not be read.")


def progress(
    detector: inference.ObjectDetector, paths: Sequence[pathlib.Path]
) -> Iterator[tuple[int, inference.Detections | DataError]]:
    """What is found in each file, under a progress bar."""
    with tqdm.tqdm(total=len(paths), unit="image", disable=None, dynamic_ncols=True) as bar:
        for item in detector.stream(paths, threads=_THREADS.value):
            yield item
            bar.update()


def picture_names(paths: Sequence[pathlib.Path]) -> list[str]:
    """A file name for the picture of each image, none twice."""
    names: dict[str, None] = {}
    for path in paths:
        name, number = f"{path.stem}.png", 1
        while name in names:
            number += 1
            name = f"{path.stem}_{number}.png"
        names[name] = None
    return list(names)


def draw(
    path: pathlib.Path,
    detections: inference.Detections,
    classes: Sequence[str],
    target: pathlib.Path,
) -> None:
    """Writes one picture."""
    image = read_image(path)
    drawn = draw_on_image(image, detections.boxes, detections.labels, detections.scores, classes)
    Image.fromarray(drawn).save(target)


def to_coco(
    paths: Sequence[pathlib.Path],
    found: dict[int, inference.Detections],
    detector: inference.ObjectDetector,
) -> dict[str, Any]:
    """Images, categories and annotations with a score, as COCO's JSON has them.

    `annotations` is what pycocotools' `loadRes` takes. Boxes are [x, y, width, height] in pixels.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in sorted(found):
        height, width = found[index].image_size
        images.append(
            {"id": index + 1, "file_name": str(paths[index]), "width": width, "height": height}
        )
        detections = found[index]
        boxes = detections.boxes.astype(np.float64)
        corners = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        corners = np.round(corners, 2).tolist()
        for box, label, score in zip(corners, detections.labels, detections.scores, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": detector.category_ids[label],
                    "bbox": box,
                    "area": round(box[2] * box[3], 2),
                    "iscrowd": 0,
                    "score": round(float(score), 5),
                }
            )
    categories = [
        {"id": id_, "name": name}
        for id_, name in zip(detector.category_ids, detector.classes, strict=True)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}


def dry_run(*arguments: str) -> Sequence[str]:
    """In what it would detect, and with which detector."""
    paths, out = find_images(arguments), pathlib.Path(_OUTPUT.value)
    lines = preview.preview_inference(
        _MODEL.value, _CHECKPOINT.value, ema=_EMA.value, changes=_CHANGES.value
    )
    files.check_can_write(out)
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(f"{missing[0]} does not exist; leave it out.", "missing_image")
    pictures = f" and {len(paths)} pictures" if _DRAW.value else ""
    return [
        *lines,
        f"Images: {len(paths)}, the first {paths[0]}.",
        f"Files: predictions.json{pictures} in {out}.",
    ]


if __name__ == "__main__":
    command_line.run(main, dry_run, takes_arguments=True)
