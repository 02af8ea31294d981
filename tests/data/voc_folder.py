"""Folders of VOC's XMLs, in any layout."""

import cv2
import numpy as np

XML = (
    "<annotation><filename>{}</filename><size><width>8</width><height>6</height></size><object>"
    "<name>cat</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>5</xmax><ymax>4</ymax></bndbox>"
    "</object></annotation>"
)


def write(root, *paths, filename=""):
    """Writes images, XMLs with one cat, and lists, by their suffixes."""
    for path in paths:
        name, _, text = path.partition("=")
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix.lower() == ".xml":
            file.write_text(XML.format(text or filename))
        elif file.suffix == ".txt":
            file.write_text(text)
        elif file.suffix == ".tga":  # not read by OpenCV
            file.write_bytes(b"\0\0\2" + bytes(15))
        else:
            data = cv2.imencode(file.suffix.lower(), np.full((6, 8, 3), 9, np.uint8))[1]
            file.write_bytes(data.tobytes())
