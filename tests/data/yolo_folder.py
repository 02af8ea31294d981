"""Small data sets in YOLO's formats on disk."""

import functools

import cv2
import numpy as np


@functools.cache
def encoded(width, height, suffix=".png"):
    """A black image file."""
    return cv2.imencode(suffix, np.zeros((height, width, 3), np.uint8))[1].tobytes()


def write(root, **files):
    """Writes files by their paths: texts and bytes as they are, images by their (width, height)."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, tuple):
            content = encoded(*content, path.suffix)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root
