"""Detections of which every kind and count is known by hand, and images for them."""

import cv2
import numpy as np

from tests.evaluation.small_data import annotation, detection

A, B, C = [10, 10, 20, 20], [50, 10, 20, 20], [0, 0, 40, 40]


def truth(names=("cell", "cat")):
    """Two images of 100 x 80: a cell A and a cat B in the first, a cell C in the second."""
    return {
        "images": [
            {"id": number, "file_name": f"{number}.png", "width": 100, "height": 80}
            for number in (1, 2)
        ],
        "annotations": [annotation(1, A, 1), annotation(1, B, 2), annotation(2, C, 1)],
        "categories": [{"id": k + 1, "name": name} for k, name in enumerate(names)],
    }


def found():
    """One detection of each kind but 'both'."""
    return [
        detection(1, A, 0.92, 1),  # true
        detection(1, B, 0.81, 1),  # a cat taken for a cell
        detection(1, A, 0.72, 1),  # a duplicate
        detection(2, [0, 0, 40, 10], 0.63, 1),  # misplaced: 400 of 1600 pixels, IoU .25
        detection(2, [60, 50, 10, 10], 0.31, 2),  # of the background
    ]


def write_images(folder):
    """The images, as files."""
    for number in (1, 2):
        pixels = np.full((80, 100, 3), 60 * number, np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), pixels)
    return folder
