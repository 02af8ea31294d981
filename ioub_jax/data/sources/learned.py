"""Counts of what is trained or evaluated on in a data set, with reasons for the rest."""

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np

from ioub_jax.data.checks import CHANGES, KINDS, Problem
from ioub_jax.data.sources.annotations import Annotations
from ioub_jax.data.sources.example import Source, largest_boxes
from ioub_jax.data.sources.file_source import AnnotatedImages, annotations_of

# Reasons why boxes are not learned, which follow their number in a sentence. Boxes that were left
# out have the kind of their problem as a key; {s} is the ending of the plural.
_BOXES = {
    "crowd": "crowd{s} (config.matcher.crowd)",
    "difficult": "difficult (config.matcher.difficult)",
    "beyond_max_boxes": "beyond config.data.max_boxes",
    "in_no_tile": "of which no tile shows enough (config.data.tiles.visibility)",
    "other_classes": "of other classes",
    "held_out": "in other parts of config.data.split",
    "repeated": "listed twice",
    "no_area": "without area",
    "outside": "outside their image",
    "bad_box": "without four finite numbers",
    "broken_annotation": "that cannot be read",
    "duplicate_annotation": "with the id of another",
    "unknown_category": "of classes that are not listed",
    "unknown_image": "of images that are not listed",
    "region": "region{s} to ignore",
    "image": "of images that are left out",
}
_IMAGES = {
    "empty": "without a box to learn (config.data.keep_empty)",
    "held_out": "in other parts of config.data.split",
    "missing_image": "whose file is missing",
    "unreadable_image": "that cannot be decoded",
    "image_size": "of another size than annotated",
    "missing_annotation": "without an annotation file",
    "broken_annotation": "whose annotation cannot be read",
    "duplicate_image": "listed twice",
    "other": "for other reasons",
}
_CHANGED = {
    "clipped": "clipped to their image",
    "exchanged": "put in order (swapped corners)",
    "rotated": "read as the upright box around them",
    "ignore": 'with "ignore": 1, kept as objects as COCO\'s metrics do',
    "renumbered": "renumbered (ids used twice)",
    "converted": "id{s} read as another type",
    "renamed": "file name{s} read as the only file that they can mean",
}
# The changes that concern images instead of boxes, and the change that leaves boxes out.
_OF_IMAGES, _LEAVES_OUT = ("converted", "renamed"), "repeated"


@dataclasses.dataclass(frozen=True)
class Rules:
    """Rules on which boxes and images of a split are learned; by default those of an evaluation.

    Attributes:
      crowd: 'keep' if crowds are learned; any other value if not.
      difficult: 'keep' if difficult objects are learned; any other value if not.
      keep_empty: whether images without a box to learn are kept.
      max_boxes: number of slots for objects of an image; None for no limit.
      verb: what is done with a box, 'used for training' or 'used for evaluation'.
    """

    crowd: str = "ignore"
    difficult: str = "keep"
    keep_empty: bool = True
    max_boxes: int | None = None
    verb: str = "used for evaluation"

    def may_learn(self, annotations: Annotations) -> np.ndarray:
        """True where an object is learned if its image has enough slots: bool `[m]`."""
        learned = ~annotations.ignored
        for treatment, flag in (
            (self.crowd, annotations.crowd),
            (self.difficult, annotations.difficult),
        ):
            if treatment != "keep":
                learned = learned & ~flag
        return learned


@dataclasses.dataclass(frozen=True)
class Tally:
    """Counts of the boxes, or of the images, that a data set lists.

    Attributes:
      listed: how many the files list.
      learned: how many are learned.
      left_out: how many are not learned, by reason; these and `learned` add up to `listed`.
      changed: how many were corrected while reading, by the keys of `CHANGES`.
    """

    listed: int
    learned: int
    left_out: dict[str, int]
    changed: dict[str, int]


@dataclasses.dataclass(frozen=True)
class ClassCount:
    """Counts of the boxes of a class.

    Attributes:
      name: the name of the class.
      category_id: the data set's own id of the class.
      boxes: number of boxes, including crowds.
      usable: number of boxes that are learned.
      crowds: number of boxes that are not learned because they are crowds.
      difficult: number of boxes that are not learned because they are difficult.
      beyond_max_boxes: number of boxes that are not learned because their image has too few slots.
      left_out: number of further boxes that were replaced by regions to ignore.
      images: number of images with at least one of the boxes.
      in_no_tile: number of boxes that are not learned because no tile shows enough of them.
    """

    name: str
    category_id: int | str
    boxes: int
    usable: int
    crowds: int
    difficult: int
    beyond_max_boxes: int
    left_out: int
    images: int
    in_no_tile: int = 0


@dataclasses.dataclass(frozen=True)
class Learned:
    """Counts of the learned and unlearned parts of a data set.

    Attributes:
      boxes: counts of boxes; None if they are known only after drawing every image.
      images: counts of images.
      classes: one entry per class, in the order of the labels; empty if `boxes` is None.
      fullest: number of objects in the fullest image, including regions to ignore; 0 if `boxes` is
        None.
      verb: what is done with boxes and images, 'used for training' or 'used for evaluation'.
      tiles: a sentence on the tiles of the images; empty if the images are not cut.
      split: a sentence on how the data set was split into parts; empty if it is whole.
    """

    boxes: Tally | None
    images: Tally
    classes: tuple[ClassCount, ...]
    fullest: int
    verb: str
    tiles: str = ""
    split: str = ""

    def lines(self) -> tuple[str, ...]:
        """Lines with the numbers of learned boxes and images, and the reasons for the rest.

        A line on the split, if the data set was split, precedes them, and a line on the tiles, if
        images are cut, follows them.
        """
        if self.boxes is None:
            boxes = f"Boxes: known only when their images are drawn; all are {self.verb}."
        else:
            boxes = _line("Boxes", self.boxes, _BOXES, self.verb)
        images = _line("Images", self.images, _IMAGES, self.verb)
        return tuple(line for line in (self.split, boxes, images, self.tiles) if line)


def count_learned(source: Source, rules: Rules) -> Learned:
    """Counts what is learned from a data set; vectorized, since COCO has 860,000 boxes.

    Args:
      source: the data set with all images that can be read, including those without objects.
      rules: the rules of its split.

    Returns:
      the counts.
    """
    if not isinstance(source, AnnotatedImages):
        images = Tally(len(source), len(source), {}, {})
        return Learned(None, images, (), 0, rules.verb)
    annotations = annotations_of(source)
    census, held_out = source.census, source.held_out
    fates = _fates(annotations, rules)
    learned = annotations.images_with(fates["learned"])
    empty = 0 if rules.keep_empty else len(annotations) - int(learned.sum())
    whole = len(annotations) + held_out.images
    listed, left_out = _left_out_images(source.skipped, census.images - whole)
    images = Tally(
        whole + listed,
        len(annotations) - empty,
        _in_order({"empty": empty, "held_out": held_out.images} | left_out, _IMAGES),
        {key: census.changes[key] for key in _OF_IMAGES if census.changes.get(key)},
    )
    kept = int((~annotations.ignored).sum())
    counts = {name: int(fates[name].sum()) for name in ("crowd", "difficult", "beyond_max_boxes")}
    counts["other_classes"] = census.other_classes
    counts["repeated"] = census.changes.get(_LEAVES_OUT, 0)
    counts["held_out"] = held_out.boxes
    known = counts["other_classes"] + counts["repeated"] + counts["held_out"]
    listed, left_out = _left_out_boxes(
        source.skipped,
        census.boxes - kept - known,
        int(annotations.ignored.sum()) + held_out.regions,
    )
    changed = {
        key: count
        for key, count in census.changes.items()
        if count and key not in (*_OF_IMAGES, _LEAVES_OUT)
    }
    boxes = Tally(
        kept + known + listed,
        int(fates["learned"].sum()),
        _in_order(counts | left_out, _BOXES),
        changed,
    )
    classes = _count_classes(annotations, source.classes, source.category_ids, fates)
    fullest = int(annotations.counts.max(initial=0))
    return Learned(boxes, images, classes, fullest, rules.verb, split=held_out.words)


def without_lost(learned: Learned, lost: Sequence[int], tiles: str) -> Learned:
    """The counts after images are cut into tiles.

    Args:
      learned: the counts of the whole images, whose boxes are known.
      lost: for each class, the number of learned boxes that are not an object of any tile.
      tiles: a sentence on the tiles.

    Returns:
      the counts.
    """
    boxes = learned.boxes
    assert boxes is not None, "tiles are cut from files, whose boxes are known"
    left_out = _in_order(boxes.left_out | {"in_no_tile": sum(lost)}, _BOXES)
    return dataclasses.replace(
        learned,
        boxes=dataclasses.replace(boxes, learned=boxes.learned - sum(lost), left_out=left_out),
        classes=tuple(
            dataclasses.replace(entry, usable=entry.usable - count, in_no_tile=count)
            for entry, count in zip(learned.classes, lost, strict=True)
        ),
        tiles=tiles,
    )


def count_classes(
    annotations: Annotations,
    classes: Sequence[str],
    category_ids: Sequence[int | str],
    rules: Rules,
) -> tuple[ClassCount, ...]:
    """Counts the learned and unlearned boxes of each class.

    Args:
      annotations: the annotations of n images.
      classes: class names in the order of the labels.
      category_ids: the data set's own id of each class.
      rules: the rules of the split.

    Returns:
      one entry per class, in the order of the labels.
    """
    return _count_classes(annotations, classes, category_ids, _fates(annotations, rules))


def _count_classes(
    annotations: Annotations,
    classes: Sequence[str],
    category_ids: Sequence[int | str],
    fates: dict[str, np.ndarray],
) -> tuple[ClassCount, ...]:
    def count(chosen: np.ndarray) -> list[int]:
        counted: list[int] = np.bincount(
            annotations.labels[chosen], minlength=len(classes)
        ).tolist()
        return counted

    boxes = ~annotations.ignored
    images = np.repeat(np.arange(len(annotations)), annotations.counts)
    # Sorting finds the distinct pairs a hundred times faster than np.unique's hashing does here.
    pairs = np.sort(images[boxes] * len(classes) + annotations.labels[boxes])
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]
    columns = zip(
        classes,
        category_ids,
        count(boxes),
        count(fates["learned"]),
        count(fates["crowd"]),
        count(fates["difficult"]),
        count(fates["beyond_max_boxes"]),
        count(annotations.ignored & (annotations.labels >= 0)),
        np.bincount(pairs % len(classes), minlength=len(classes)).tolist(),
        strict=True,
    )
    return tuple(ClassCount(*row) for row in columns)


def learned_objects(annotations: Annotations, rules: Rules) -> np.ndarray:
    """True where one of m objects is learned, bool `[m]`."""
    return _fates(annotations, rules)["learned"]


def with_learned_images(source: Source, rules: Rules) -> Source:
    """The data set without images that have no box to learn, unless the rules keep these.

    Images whose objects are all crowds, for example, have no box to learn.

    Args:
      source: a data set.
      rules: the rules of its split.

    Returns:
      the images with a box to learn; the data set itself if all images are kept, or if its boxes
      are known only after drawing the images.
    """
    if rules.keep_empty or not isinstance(source, AnnotatedImages):
        return source
    annotations = annotations_of(source)
    chosen = np.flatnonzero(annotations.images_with(learned_objects(annotations, rules)))
    return source if len(chosen) == len(source) else source.select(chosen)


def _fates(annotations: Annotations, rules: Rules) -> dict[str, np.ndarray]:
    """Masks, bool `[m]`, of objects that are learned and of those that are not, by the reason.

    Regions to ignore are in none of the masks; every other object is in exactly one.
    """
    may_be_learned = rules.may_learn(annotations)
    crowd = ~annotations.ignored & ~may_be_learned & (annotations.crowd & (rules.crowd != "keep"))
    fits = np.ones(len(annotations.boxes), bool)
    if rules.max_boxes is not None:
        for image in np.flatnonzero(annotations.counts > rules.max_boxes):
            objects = slice(annotations.offsets[image], annotations.offsets[image + 1])
            fits[objects] = False
            kept = largest_boxes(annotations.boxes[objects], rules.max_boxes)
            fits[annotations.offsets[image] + kept] = True
    return {
        "learned": may_be_learned & fits,
        "crowd": crowd,
        "difficult": ~annotations.ignored & ~may_be_learned & ~crowd,
        "beyond_max_boxes": may_be_learned & ~fits,
    }


def _left_out_images(problems: Sequence[Problem], missing: int) -> tuple[int, dict[str, int]]:
    """Number of images left out, at least `missing`, and the reasons."""
    left_out = _count_problems(problems, "image")
    left_out["other"] = max(0, missing - left_out.total())
    return left_out.total(), dict(left_out)


def _left_out_boxes(
    problems: Sequence[Problem], missing: int, regions: int
) -> tuple[int, dict[str, int]]:
    """Number of boxes left out, at least `missing`, and the reasons.

    A box that was left out because of a problem has been replaced by a region to ignore. All other
    regions to ignore come from the data set itself. The boxes of an image that was left out have no
    problem of their own; they are the rest.
    """
    left_out = _count_problems(problems, "box")
    rest = max(0, missing - left_out.total())
    of_problems = left_out.total() - left_out["unknown_image"]
    left_out["region"] = min(rest, max(0, regions - of_problems))
    left_out["image"] = rest - left_out["region"]
    return left_out.total(), dict(left_out)


def _count_problems(problems: Sequence[Problem], leaves_out: str) -> collections.Counter[str]:
    counts: collections.Counter[str] = collections.Counter()
    for problem in problems:
        if problem.leaves_out == leaves_out:
            counts[problem.kind] += problem.count
    return counts


def _in_order(counts: dict[str, int], reasons: dict[str, str]) -> dict[str, int]:
    """The counts that are not 0, in the order of the reasons."""
    return {key: counts[key] for key in (reasons | counts) if counts.get(key)}


def _line(title: str, tally: Tally, reasons: dict[str, str], verb: str) -> str:
    if tally.learned == tally.listed:
        line = f"{title}: all {tally.listed:,} are {verb}"
    else:
        line = f"{title}: {tally.learned:,} of {tally.listed:,} are {verb}"
    if tally.left_out:
        line += f"; left out: {_in_words(tally.left_out, reasons)}"
    if tally.changed:
        line += f"; changed: {_in_words(tally.changed, _CHANGED)}"
    return f"{line}."


def _in_words(counts: dict[str, int], words: dict[str, str]) -> str:
    headings = KINDS | CHANGES
    return ", ".join(
        f"{count:,} " + words.get(key, f"({headings.get(key, key)})").format(s="s" * (count != 1))
        for key, count in counts.items()
    )
