"""Writes what tidecv computes into `tide.npz`, for tests that run without it.

In a virtual environment of its own, from the root of the repository, with the data sets of the
tests beside it:

    pip install tidecv==1.0.1
    python -m tests.golden.make_tide DATA

Nothing of tidecv's is changed. What it keeps of each class is read besides its means over classes,
since it counts classes without ground truth among them. `as_is` are the files themselves, `plain`
the same without crowds and with distinct scores, where the rules of both must say the same.
"""

import json
import pathlib
import sys
from typing import Any

import numpy as np
from tidecv import TIDE, Data
from tidecv.errors import main_errors

#: name -> (ground truth, detections)
SETS = {
    "val2014": (
        "coco_eval_val2014_100/instances_val2014_100.json",
        "coco_eval_val2014_100/instances_val2014_fakebbox100_results.json",
    ),
    "coco_mini": (
        "coco_mini/annotations/instances_val2017.json",
        "coco_mini/annotations/ssdlite_mobilenet_v2_val2017_dets.json",
    ),
}
ERRORS = (
    main_errors.ClassError,
    main_errors.BoxError,
    main_errors.OtherError,
    main_errors.DuplicateError,
    main_errors.BackgroundError,
    main_errors.MissedError,
)
SPECIAL = (main_errors.FalsePositiveError, main_errors.FalseNegativeError)
IOUS = (0.5, 0.75)


def main(folder: pathlib.Path) -> None:
    """Computes all of it."""
    values = {}
    for name, files in SETS.items():
        truth, found = (json.loads((folder / file).read_text()) for file in files)
        places = places_of(found)
        values[f"{name}|places"] = places
        plain = [
            row | {"score": 1 - place / len(found)}
            for row, place in zip(found, places.tolist(), strict=True)
        ]
        for variant, detections in (("as_is", found), ("plain", plain)):
            for iou in IOUS:
                run = evaluate(truth, detections, iou, keep_crowds=variant == "as_is")
                for key, value in values_of(run, truth).items():
                    values[f"{name}|{variant}|{iou:g}|{key}"] = value
    path = pathlib.Path(__file__).parent / "tide.npz"
    np.savez_compressed(path, **values)
    print(f"{len(values)} arrays in {path}, {path.stat().st_size:,} bytes")


def places_of(found: list[dict[str, Any]]) -> np.ndarray:
    """The place of each detection from 0 in COCO's order, which makes distinct scores of them.

    In which order tidecv counts those of equal score depends on their errors.
    """
    best_first = sorted(range(len(found)), key=lambda i: (-found[i]["score"], found[i]["image_id"]))
    return np.argsort(best_first).astype(np.uint16)


def evaluate(
    truth: dict[str, Any], found: list[dict[str, Any]], iou: float, *, keep_crowds: bool
) -> Any:
    """A `TIDERun`."""
    objects, detections = Data("truth", max_dets=100), Data("found")
    for image in truth["images"]:
        objects.add_image(image["id"], str(image["id"]))
    for row in truth["annotations"]:
        if not row["iscrowd"]:
            objects.add_ground_truth(row["image_id"], row["category_id"], row["bbox"])
        elif keep_crowds:
            objects.add_ignore_region(row["image_id"], row["category_id"], row["bbox"])
    for category in truth["categories"]:
        objects.add_class(category["id"], category["name"])
    for row in found:
        place = row["image_id"], row["category_id"]
        detections.add_detection(*place, row["score"], row["bbox"])
    return TIDE().evaluate(objects, detections, iou, 0.1, mode=TIDE.BOX)


def values_of(run: Any, truth: dict[str, Any]) -> dict[str, np.ndarray]:
    """What is kept of a run.

    Returns:
      `means`: mAP, then dAP of `ERRORS` and `SPECIAL`, all in 0..100, as tidecv prints them.
      `counts`: of `ERRORS`.
      `classes` [C, 9]: AP of each class as it is, and where each of `ERRORS` and `SPECIAL` is
        mended, in the order of the category ids; 0 where there is nothing.
      `kinds` [d]: the position of each detection's error in `ERRORS`; -1 of one without an error.
      `missed` [m]: whether each ground-truth box that is no crowd is a `MissedError`.
    """
    dap, special = run.fix_main_errors(), run.fix_special_errors()
    mended = [run.fix_errors(lambda error, kind=kind: isinstance(error, kind)) for kind in ERRORS]
    mended.append(run.fix_errors(transform=main_errors.FalsePositiveError.fix))
    mended.append(run.fix_errors(false_neg_dict=run.false_negatives))
    ids = sorted(category["id"] for category in truth["categories"])
    classes = [
        [data.objs[id_].get_ap() if id_ in data.objs else 0.0 for data in (run.ap_data, *mended)]
        for id_ in ids
    ]
    kinds = np.full(len(run.preds.annotations), -1, np.int8)
    missed = np.zeros(len(run.gt.annotations), bool)
    for number, kind in enumerate(ERRORS):
        for error in run.error_dict[kind]:
            if kind is main_errors.MissedError:
                missed[error.gt["_id"]] = True
            else:
                kinds[error.pred["_id"]] = number
    counted = np.array([not row["ignore"] for row in run.gt.annotations])
    return {
        "means": np.array(
            [run.ap, *(dap[kind] for kind in ERRORS), *(special[k] for k in SPECIAL)]
        ),
        "counts": np.array([len(run.error_dict[kind]) for kind in ERRORS]),
        "classes": np.array(classes),
        "kinds": kinds,
        "missed": missed[counted],
    }


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
