"""Ground truth and detections drawn at random, with what is odd in them."""

import numpy as np
from hypothesis import strategies as st

from tests.evaluation.small_data import annotation, data_set, detection

# The bounds of COCO's areas are 32 * 32 and 96 * 96, and they are in both their neighbors.
SIDES = (8.0, 16.0, 32.0, 64.0, 96.0, 128.0, float(np.nextafter(32.0, 0.0)), 96.0000001, 0.0)
AREAS = (None, 0.0, 1024.0, 1023.9999, 9216.0, 9216.5, 1e10, 2e10)


@st.composite
def scenes(draw):
    """Ground truth and detections: ties, crowds, classes and images without a box, many boxes."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ids = draw(st.sampled_from([(1, 2, 3), (0, 90, 7), (2**53, 2**53 + 1, 5), (-1, 4, 2**62)]))
    annotations, detections = [], []
    for _ in range(draw(st.integers(0, 20))):
        image_id, category_id = int(generator.integers(1, 4)), int(generator.choice(ids[:2]))
        place, size = generator.integers(0, 20, 2) * 4.0, generator.choice(SIDES, 2)
        if generator.random() < 0.5:
            place, size = generator.uniform(0, 300, 2), generator.uniform(5, 150, 2)
        box = np.concatenate([place, size])
        crowd, area = int(generator.random() < 0.2), draw(st.sampled_from(AREAS))
        annotations.append(annotation(image_id, box.tolist(), category_id, iscrowd=crowd))
        if area is not None:
            annotations[-1]["area"] = area
        for _ in range(generator.integers(0, 4)):
            moved = box + generator.choice([0.0, 4.0, -4.0], 4)  # IoUs of few digits
            if generator.random() < 0.5:
                moved = box + generator.normal(0, 5, 4)
            detections.append((image_id, moved, category_id))
    if draw(st.booleans()):
        detections += [
            (4, generator.uniform(0, 90, 4), ids[0]) for _ in range(generator.integers(99, 130))
        ]
        annotations.append(annotation(4, [20.0, 20.0, 40.0, 40.0], ids[0]))
    digits = draw(st.sampled_from([0, 1, 17]))
    found = [
        detection(
            image, np.maximum(box, 0).tolist(), float(generator.normal().__round__(digits)), label
        )
        for image, box, label in detections
    ]
    generator.shuffle(found)
    categories = [{"id": id_, "name": str(id_)} for id_ in ids]
    return data_set(annotations, images=(1, 2, 3, 4, 5)) | {"categories": categories}, found
