"""Makes lvis.json: a small data set in LVIS's format, detections, and what lvis-api says of them.

It needs lvis 0.5.3, which needs numpy before 1.24, in an environment of its own:

    pip install 'numpy<1.24' 'matplotlib<3.8' 'opencv-python-headless<4.9' pycocotools
    pip install --no-deps lvis==0.5.3
    python tests/golden/make_lvis.py tests/golden/lvis.json
"""

import copy
import json
import logging
import pathlib
import sys
import tempfile

import numpy as np

SIZE = (640, 480)
IMAGES = 28
# One class of each frequency has no object at all, and one no negative image.
CLASSES = (
    ("axe", "r"), ("bun", "r"), ("cap", "r"), ("dam", "r"),
    ("ewe", "c"), ("fig", "c"), ("gem", "c"), ("hat", "c"),
    ("ivy", "f"), ("jar", "f"), ("keg", "f"), ("lid", "f"),
)  # fmt: skip
ABSENT = {4, 8, 12}
NEVER_NEGATIVE = {3}
CROWDED = 70  # an image's id


def ground_truth(generator):
    """Images whose classes are verified in part, with objects of all sizes and masks' areas."""
    images, annotations = [], []
    for number in range(1, IMAGES + 1):
        ids = generator.permutation(len(CLASSES)) + 1
        present = [int(k) for k in ids[: generator.integers(0, 4)] if k not in ABSENT]
        rest = [int(k) for k in ids if k not in present]
        negative = [k for k in rest[: generator.integers(0, 5)] if k not in NEVER_NEGATIVE]
        # Of classes that are there, of verified absent ones and of others, as LVIS has them all.
        partly = [k for k in [*present, *negative[:1], *rest[-1:]] if generator.random() < 0.3]
        file = f"val2017/{number:012d}.jpg"
        images.append(
            {
                "id": 10 * number,
                "width": SIZE[0],
                "height": SIZE[1],
                "coco_url": f"http://images.cocodataset.org/{file}",
                "neg_category_ids": sorted(negative),
                "not_exhaustive_category_ids": sorted(set(partly)),
            }
        )
        for category in present:
            for _ in range(generator.integers(1, 4)):
                side = generator.choice([20, 60, 160], p=[0.4, 0.3, 0.3])
                width, height = generator.uniform(0.7, 1.4, 2) * side
                x, y = generator.uniform(0, SIZE[0] - width), generator.uniform(0, SIZE[1] - height)
                box = [round(float(value), 2) for value in (x, y, width, height)]
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": 10 * number,
                        "category_id": category,
                        "bbox": box,
                        "area": round(box[2] * box[3] * float(generator.uniform(0.5, 1)), 2),
                    }
                )
    categories = [
        {"id": k, "name": name, "frequency": frequency}
        for k, (name, frequency) in enumerate(CLASSES, start=1)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}


def detections(generator, truth):
    """Objects found more or less well, some twice; false ones of any class; scores with ties."""
    rows = []
    for annotation in truth["annotations"]:
        x, y, width, height = annotation["bbox"]
        for _ in range(generator.choice([0, 1, 2], p=[0.15, 0.65, 0.2])):
            moved = np.array([x, y, 0, 0]) + generator.normal(0, 0.06, 4) * [width, height, 0, 0]
            moved[2:] = np.array([width, height]) * np.exp(generator.normal(0, 0.1, 2))
            # In the image of many detections those of objects are not among the best.
            score = generator.uniform(
                *((0, 0.1) if annotation["image_id"] == CROWDED else (0.3, 1))
            )
            rows.append([annotation["image_id"], annotation["category_id"], *moved, score])
    for image in truth["images"]:
        # One image has more than the 300 detections that count, of classes verified and not.
        count = 340 if image["id"] == CROWDED else generator.integers(0, 14)
        for _ in range(count):
            place, size = generator.uniform(0, 400, 2), generator.uniform(4, 150, 2)
            category = generator.integers(1, len(CLASSES) + 1)
            rows.append([image["id"], category, *place, *size, generator.uniform(0, 0.9)])
    generator.shuffle(rows)
    return [
        [int(image), int(category), *(round(float(value), 2) for value in values)]
        for image, category, *values in rows
    ]


def as_results(rows):
    """COCO results."""
    return [
        {"image_id": image, "category_id": category, "bbox": box, "score": score}
        for image, category, *box, score in rows
    ]


def numbers_of(truth, rows):
    """lvis-api's numbers, and AP of every class; null where it says -1."""
    from lvis import LVIS, LVISEval, LVISResults

    logging.disable(logging.WARNING)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(truth, file)
        file.flush()
        index = LVIS(file.name)
    evaluator = LVISEval(index, LVISResults(index, copy.deepcopy(as_results(rows))), "bbox")
    evaluator.run()
    precision = evaluator.eval["precision"][:, :, :, 0]
    of_classes = [precision[:, :, k].mean() for k in range(len(CLASSES))]
    results = {key: float(value) for key, value in evaluator.get_results().items()}
    return (
        {key: None if value == -1 else value for key, value in results.items()},
        [None if value == -1 else float(value) for value in of_classes],
    )


def main():
    """Writes the file."""
    generator = np.random.default_rng(20)
    truth = ground_truth(generator)
    rows = detections(generator, truth)
    numbers, of_classes = numbers_of(truth, rows)
    whole = {
        "ground_truth": truth,
        "detections": rows,
        "numbers": numbers,
        "AP_of_classes": of_classes,
    }
    pathlib.Path(sys.argv[1]).write_text(json.dumps(whole, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
