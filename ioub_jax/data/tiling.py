"""Positions of the tiles of a large image, and the objects in each of them."""

import dataclasses

import numpy as np

from ioub_jax.data.sources.annotations import Annotations

Size = tuple[int, int]  # height and width
_MOST_TILES = 5_000_000  # in a data set; their positions alone take 300 MB


@dataclasses.dataclass(frozen=True)
class Tiling:
    """The rule by which images are cut into overlapping square tiles.

    The tiles cover the image and lie inside of it: the last tile of a row or column is moved back
    to the border. If an image is shorter than a tile along a side, it has one tile along that side,
    which is as long as the image. Neighboring tiles share at least `overlap` of their side, so an
    object whose sides are no longer than that lies completely in at least one tile.

    Attributes:
      size: side of a tile in pixels of the image.
      overlap: smallest share of the side that neighboring tiles have in common.
      visibility: share of an object's box that a tile must show to count it as an object; with
        less, it is a region to ignore, never background.
      zoom: pixels of the network's input per pixel of the image.

    Raises:
      ValueError: a number is out of its range.
    """

    size: int
    overlap: float = 0.2
    visibility: float = 0.5
    zoom: float = 1.0

    def __post_init__(self) -> None:
        for name, is_allowed, words in (
            ("size", self.size >= 32, "at least 32 pixels"),
            ("overlap", 0 <= self.overlap < 1, "at least 0 and below 1, a share of the size"),
            ("visibility", 0 < self.visibility <= 1, "above 0 and at most 1, a share of a box"),
            ("zoom", self.zoom > 0, "above 0"),
        ):
            if not is_allowed:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be {words}.")
        if min(self.canvas) < 32:
            raise ValueError(
                f"zoom is {self.zoom}, which makes inputs of {self.canvas[0]} pixels of tiles of "
                f"{self.size}; they must have at least 32."
            )

    @property
    def canvas(self) -> Size:
        """Height and width of the network's input."""
        side = round(self.size * self.zoom)
        return side, side

    @property
    def stride(self) -> int:
        """Pixels from one tile to the next, at least 1."""
        return max(self.size - self.shared, 1)

    @property
    def shared(self) -> int:
        """Smallest overlap of neighboring tiles in pixels.

        Objects with no longer side lie completely in at least one tile.
        """
        return min(int(np.ceil(self.size * self.overlap - 1e-9)), self.size - 1)

    def starts(self, length: int) -> np.ndarray:
        """Starts of the tiles along a side, ascending: int64 `[t]`."""
        if length <= self.size:
            return np.zeros(1, np.int64)
        count = -(-(length - self.size) // self.stride) + 1
        return np.minimum(np.arange(count) * self.stride, length - self.size)

    def count(self, size: Size) -> int:
        """Number of tiles of an image of the given height and width."""
        return len(self.starts(size[0])) * len(self.starts(size[1]))

    def windows(self, size: Size) -> np.ndarray:
        """The tiles of an image of the given height and width.

        Returns:
          int64 `[t, 4]` xyxy in pixels of the image, in rows from the top, each row from the left.
        """
        top, left = (
            axis.reshape(-1) for axis in np.meshgrid(*map(self.starts, size), indexing="ij")
        )
        bottom = np.minimum(top + self.size, size[0])
        right = np.minimum(left + self.size, size[1])
        return np.stack([left, top, right, bottom], axis=1)

    def __str__(self) -> str:
        """The rule in words: '640 pixels with an overlap of 20%'."""
        zoomed = "" if self.zoom == 1 else f", seen at {self.zoom:g} times their size"
        return f"{self.size} pixels with an overlap of {100 * self.overlap:g}%{zoomed}"


@dataclasses.dataclass(frozen=True)
class Tiles:
    """The tiles of n images, t in all, and the objects in each.

    Attributes:
      images: int64 `[t]`, ascending, the image of each tile.
      windows: int64 `[t, 4]` xyxy of each tile in pixels of its image.
      annotations: the objects of the tiles, with boxes in pixels of the tile. An object that lies
        in several tiles occurs in each of them. `image_ids` are the positions of the tiles.
      objects: int64 `[m]`, for each object of a tile, its position among the objects of the images.
      shown: float32 `[m]`, for each object of a tile, the share of its box that the tile shows.
    """

    images: np.ndarray
    windows: np.ndarray
    annotations: Annotations
    objects: np.ndarray
    shown: np.ndarray

    def whole_somewhere(self, count: int) -> np.ndarray:
        """Mask of those of the `count` objects of the images that are complete in some tile.

        Returns:
          bool `[count]`.
        """
        found = np.zeros(count, bool)
        found[self.objects[self.shown >= 1]] = True
        return found


def cut(annotations: Annotations, tiling: Tiling) -> Tiles:
    """Cuts images and their boxes into tiles.

    A box is clipped to the tile. If less than `tiling.visibility` of it is left, it becomes a
    region to ignore (`ignored`). Crowds and regions to ignore keep their kind, however little of
    them a tile shows. The area is that of the object times the share of the box that is shown.

    Args:
      annotations: the objects of n images.
      tiling: the rule.

    Returns:
      the tiles, in the order of the images; a pure function of the arguments.

    Raises:
      ValueError: there would be more than five million tiles.
    """
    sizes, frequency = np.unique(annotations.sizes, axis=0, return_counts=True)
    count = sum(
        int(number) * tiling.count((height, width))
        for (height, width), number in zip(sizes.tolist(), frequency, strict=True)
    )
    if count > _MOST_TILES:
        raise ValueError(
            f"size is {tiling.size} and overlap {tiling.overlap:g}, which makes {count:,} tiles of "
            f"the {len(annotations):,} images; at most {_MOST_TILES:,} are possible, so use larger "
            "tiles or a smaller overlap."
        )
    windows, images, parts = [], [], []
    first = 0
    for image, size in enumerate(annotations.sizes.tolist()):
        of_image = tiling.windows((size[0], size[1]))
        begin, end = annotations.offsets[image : image + 2].tolist()
        tile, box = _overlapping(of_image, annotations.boxes[begin:end])
        parts.append(np.stack([tile + first, box + begin]))
        windows.append(of_image)
        images.append(np.full(len(of_image), image))
        first += len(of_image)
    return _assembled(
        annotations, tiling.visibility, np.concatenate(images), np.concatenate(windows), parts
    )


def _overlapping(windows: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a tile `[m]` and a box `[m]` that overlap, ordered by tile, then by box."""
    # The axes are handled separately, since all tiles of a row share their top and bottom.
    share = np.ones((len(windows), len(boxes)), bool)
    for axis in (0, 1):
        edges, inverse = np.unique(windows[:, axis::2], axis=0, return_inverse=True)
        meets = (boxes[None, :, axis] < edges[:, None, 1]) & (
            boxes[None, :, axis + 2] > edges[:, None, 0]
        )
        share &= meets[inverse.reshape(-1)]
    tile, box = np.nonzero(share)
    return tile, box


def _assembled(
    annotations: Annotations,
    visibility: float,
    images: np.ndarray,
    windows: np.ndarray,
    parts: list[np.ndarray],
) -> Tiles:
    """The tiles, from the pairs (tile, object) of every image."""
    tile, objects = np.concatenate(parts, axis=1)
    whole = annotations.boxes[objects]
    corners = windows[tile].astype(np.float32)
    clipped = np.clip(whole, np.tile(corners[:, :2], 2), np.tile(corners[:, 2:], 2))
    shown = _area(clipped) / np.maximum(_area(whole), np.finfo(np.float32).tiny)
    is_region = annotations.crowd[objects] | annotations.ignored[objects]
    # A box that is not cut is shown completely, despite rounding errors.
    shown = np.where((clipped == whole).all(axis=1), 1.0, np.minimum(shown, 1.0))
    counts = np.bincount(tile, minlength=len(windows))
    tiles = Annotations(
        image_ids=np.arange(len(windows)),
        sizes=windows[:, [3, 2]] - windows[:, [1, 0]],
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        boxes=clipped - np.tile(corners[:, :2], 2),
        labels=annotations.labels[objects],
        crowd=annotations.crowd[objects],
        difficult=annotations.difficult[objects],
        ignored=annotations.ignored[objects] | (~is_region & (shown < visibility)),
        area=(annotations.area[objects] * shown).astype(np.float32),
    )
    return Tiles(images, windows, tiles, objects, shown.astype(np.float32))


def _area(boxes: np.ndarray) -> np.ndarray:
    sides = boxes[:, 2:].astype(np.float64) - boxes[:, :2]
    return sides.prod(axis=1)
