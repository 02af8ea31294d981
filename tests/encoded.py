"""Image files of odd kinds, as bytes, and data sets of them."""

import io
import json
import struct
import zlib

import numpy as np
import PIL.Image
import PIL.TiffImagePlugin


def _chunk(name, content):
    checked = name + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def png(values):
    """A PNG of uint8 or uint16 `[H, W, channels]`; 1: gray, 2: with alpha, 3: RGB, 4: with alpha.

    Pillow writes no 16 bits but gray, OpenCV no gray with alpha.
    """
    height, width, channels = values.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = values.astype(values.dtype.newbyteorder(">"))
    content = b"".join(b"\0" + row.tobytes() for row in rows)
    bits = 8 * values.dtype.itemsize
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
        + _chunk(b"IDAT", zlib.compress(content))
        + _chunk(b"IEND", b"")
    )


def huge_png():
    """A PNG of a few bytes whose header says 40000 x 40000."""
    return png(np.zeros((1, 1, 3), np.uint8)).replace(
        _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)),
        _chunk(b"IHDR", struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0)),
    )


def encoded(height, width, file_format, *, pages=1, **options):
    """Noise in a format of Pillow, of one or more pages or frames."""
    rng = np.random.default_rng(0)
    first, *others = (
        PIL.Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
        for _ in range(pages)
    )
    file = io.BytesIO()
    several = {"save_all": True, "append_images": others} if others else {}
    first.save(file, file_format, **several, **options)
    return file.getvalue()


def tiff(values, *, colors=None, extra=(), kind=1):
    """An uncompressed TIFF of any numbers `[H, W, bands]`, as scientific tools write it.

    Args:
      values: of any dtype.
      colors: the photometric interpretation; None: RGB of three bands and more, else gray.
      extra: what the bands beyond the colors are; 0: nothing that is known, 2: transparency.
      kind: of a number; 1: unsigned, 2: signed, 3: float.
    """
    height, width, bands = values.shape
    if colors is None:
        colors = 2 if bands >= 3 else 1
    bits = 8 * values.dtype.itemsize
    content = values.astype(values.dtype.newbyteorder("<")).tobytes()
    tags = PIL.TiffImagePlugin.ImageFileDirectory_v2(b"II*\0\x08\0\0\0")
    numbers = {
        256: width, 257: height, 258: (bits,) * bands, 259: 1, 262: colors, 273: 0, 277: bands,
        278: height, 279: len(content), 338: tuple(extra), 339: (kind,) * bands,
    }  # fmt: skip
    for tag, number in numbers.items():
        if number != ():
            tags[tag] = number
    file = io.BytesIO()
    file.write(b"II*\0\x08\0\0\0")
    file.write(tags.tobytes(8) + content)  # Pillow adds to tag 273 where its bytes end
    return file.getvalue()


def write_coco(root, contents, sizes, boxes, suffix="jpg"):
    """Writes train.json and images/1.jpg and so on, each image with one box `[x, y, w, h]`.

    Args:
      root: the folder.
      contents: the bytes of each image.
      sizes: the annotated height and width of each.
      boxes: of each image, or one for all.
      suffix: of the files.
    """
    (root / "images").mkdir(exist_ok=True)
    images, annotations = [], []
    boxes = boxes if len(boxes) == len(contents) else boxes * len(contents)
    for number, (content, (height, width), box) in enumerate(
        zip(contents, sizes, boxes, strict=True), start=1
    ):
        name = f"{number}.{suffix}"
        (root / "images" / name).write_bytes(content)
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": box})
    categories = [{"id": 1, "name": "thing"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "train.json").write_text(json.dumps(content))
