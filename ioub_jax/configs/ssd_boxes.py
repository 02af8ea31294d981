"""The default boxes of SSDs, as in the scripts of SSD's authors, mmdetection and torchvision."""

#: (data set, input size) -> sizes of the default boxes in pixels, one more than there are levels:
#: 4 %, 10 %, 26 %, ... of the input for SSD512 on COCO.
SIZES = {
    ("coco", 300): (21.0, 45.0, 99.0, 153.0, 207.0, 261.0, 315.0),
    ("coco", 512): (20.48, 51.2, 133.12, 215.04, 296.96, 378.88, 460.8, 542.72),
    ("voc", 300): (30.0, 60.0, 111.0, 162.0, 213.0, 264.0, 315.0),
    ("voc", 512): (35.84, 76.8, 153.6, 230.4, 307.2, 384.0, 460.8, 537.6),
}
#: input size -> pixels between the centers of the boxes of each level.
STRIDES = {300: (8, 16, 32, 64, 100, 300), 512: (8, 16, 32, 64, 128, 256, 512)}
#: input size -> the longer side of a box over its shorter one, for each level.
RATIOS = {
    size: ((2.0,), *((2.0, 3.0),) * (len(strides) - 3), (2.0,), (2.0,))
    for size, strides in STRIDES.items()
}


#: Pixels between the centers of the boxes of each level of an SSDLite whose grids do not extend
#: beyond the image.
LITE_STRIDES = (16, 32, 64, 128, 256, 512)
#: The longer side of a box over its shorter one, for each level of an SSDLite.
LITE_RATIOS = ((2.0, 3.0),) * len(LITE_STRIDES)


def lite_sizes(input_size: int) -> tuple[float, ...]:
    """Sizes of the default boxes of an SSDLite in pixels: 20 % to 95 % and 100 % of the input."""
    return tuple(round(share * input_size, 3) for share in (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0))
