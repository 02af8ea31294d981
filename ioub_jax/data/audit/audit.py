"""Audit of a whole data set, which reads it and finds all of its faults."""

import dataclasses

import numpy as np

from ioub_jax.data.audit.dense_images import find_dense_images
from ioub_jax.data.audit.findings import Finding, group_problems
from ioub_jax.data.audit.format_mistakes import (
    find_format_mistakes,
    find_pixel_doubts,
    find_share_mistakes,
)
from ioub_jax.data.audit.image_files import check_headers, decode_all
from ioub_jax.data.audit.statistics import (
    Statistics,
    collect_statistics,
    find_duplicate_boxes,
    find_odd_areas,
)
from ioub_jax.data.audit.written_boxes import read_coco_boxes, read_voc_boxes, read_yolo_boxes
from ioub_jax.data.checks import DataError, Problem
from ioub_jax.data.sources import Learned, Source, VocSource, YoloSource, annotations_of, unlearned
from ioub_jax.data.sources.annotations import Annotations
from ioub_jax.data.sources.learned import Rules, count_classes, count_learned
from ioub_jax.data.sources.voc_pixels import decide


@dataclasses.dataclass(frozen=True)
class OpenedData:
    """A data set that could be opened.

    Attributes:
      source: the data set, including images without objects, without the broken parts.
      annotations: all of its objects.
      statistics: its counts and histograms.
      learned: the boxes and images that are learned.
      tiles: the objects of the tiles that its images are cut into; None without tiling.
    """

    source: Source
    annotations: Annotations
    statistics: Statistics
    learned: Learned
    tiles: Annotations | None = None

    @property
    def seen(self) -> Annotations:
        """The objects that the network sees: those of the tiles, or those of whole images."""
        return self.annotations if self.tiles is None else self.tiles


@dataclasses.dataclass(frozen=True)
class Audit:
    """Result of an audit.

    Attributes:
      findings: the findings; those that must be fixed come first.
      data: the data set; None if it could not be opened.
    """

    findings: tuple[Finding, ...]
    data: OpenedData | None

    @property
    def must_be_fixed(self) -> bool:
        """True if any finding must be fixed."""
        return any(finding.must_be_fixed for finding in self.findings)


@dataclasses.dataclass(frozen=True)
class Use:
    """Purpose of a data set, and how it is loaded.

    Attributes:
      split: 'train', 'val' or 'test'; only training needs boxes.
      origin: where the data set comes from.
      rules: which boxes and images are learned.
      on_error: the treatment of broken parts: 'raise' or 'skip'.
      max_boxes: the ground-truth slots of an image; None if the slots of tiles are checked instead.
      max_detections: the number of detections of an image that are kept.
      is_for_coco: whether COCO's AP is computed.
      allow_empty_classes: whether classes may lack boxes.
      coco_detections: the number of detections of a class in an image that COCO's AP counts.
    """

    split: str
    origin: unlearned.Origin
    rules: Rules
    on_error: str
    max_boxes: int | None
    max_detections: int
    is_for_coco: bool
    allow_empty_classes: bool
    coco_detections: int = 100


def unopened(error: DataError) -> Audit:
    """The audit of a data set that cannot be opened."""
    problem = Problem(error.kind, str(error))
    return Audit(tuple(group_problems([problem], must_be_fixed=True)), None)


def audit_data_set(source: Source, use: Use, *, decode: bool = False) -> Audit:
    """Checks the annotations of a split and the header of every image, without decoding.

    A finding **must be fixed** if the training described by `use` would stop at it, or would learn
    wrong boxes from it. Under `on_error='raise'` this includes every broken file, box and id; under
    `on_error='skip'` these are worth knowing, since they are left out. The following must be fixed
    in either case: a near-certain mistake of the format, a file that cannot be opened, training
    data without a box to learn and, unless `allow_empty_classes` is set, a class without one.
    Mistakes that reading corrects, such as a box that extends beyond its image, are worth knowing.

    Args:
      source: the data set, opened with `on_error='skip'`.
      use: the purpose of the data set.
      decode: whether to decode every image.

    Returns:
      the audit.
    """
    raises = use.on_error == "raise"
    data = _read(source, use.rules)
    problems = list(source.skipped)
    header_problems, about_images = check_headers(source)
    problems += header_problems
    if decode:
        # An image with a broken header needs no second sentence.
        known = {problem.sentence.split(": ")[0] for problem in header_problems}
        decoded, values = decode_all(source)
        problems += [p for p in decoded if p.sentence.split(": ")[0] not in known]
        about_images += values
    if not raises:  # the sentence's advice is to skip the image, which already happens
        problems = [dataclasses.replace(problem, sentence=str(problem)) for problem in problems]
    findings = [
        *_format_mistakes(source, use.origin),
        *group_problems(problems, must_be_fixed=raises),
        *_nothing_learned(data, use),
        *about_images,
        *_too_many_objects(data, use.max_boxes),
        *find_dense_images(
            source,
            data.annotations,
            max_detections=use.max_detections,
            is_for_coco=use.is_for_coco,
            counted=use.coco_detections,
        ),
        *_worth_knowing(data),
    ]
    return Audit(tuple(sorted(findings, key=lambda finding: not finding.must_be_fixed)), data)


def _read(source: Source, rules: Rules) -> OpenedData:
    annotations = annotations_of(source)
    classes = count_classes(annotations, source.classes, source.category_ids, rules)
    statistics = collect_statistics(annotations, classes)
    return OpenedData(source, annotations, statistics, count_learned(source, rules))


def pixels_line(source: Source) -> str | None:
    """A line on how VOC's pixels are read, and why; None for data without XMLs."""
    if not isinstance(source, VocSource):
        return None
    decision = decide(source.evidence)
    if decision.pixels == source.pixels:
        return decision.sentence("The XMLs")
    return (
        f"The XMLs: pixels are read as {source.pixels!r} (config.data.voc.pixels), but they look "
        f"like {decision.pixels!r}, since {decision.reason}."
    )


def _format_mistakes(source: Source, origin: unlearned.Origin) -> list[Finding]:
    if isinstance(source, YoloSource):
        files = [source.annotation_file(index) for index in range(len(source))]
        sentences = tuple(find_share_mistakes(read_yolo_boxes(files, source.sizes)))
        return [Finding("format", True, 1, sentences=sentences)] if sentences else []
    mistakes: list[str] = []
    doubts: tuple[str, ...] = ()
    for path in origin.annotations:
        name = f"{path}: " if len(origin.annotations) > 1 else ""
        mistakes += [f"{name}{told}" for told in find_format_mistakes(read_coco_boxes(path))]
    if isinstance(source, VocSource):
        xmls = [source.annotation_file(index) for index in range(len(source))]
        written = read_voc_boxes(xmls, source.sizes)
        mistakes = find_format_mistakes(written, source.pixels, source.evidence)
        doubts = tuple(find_pixel_doubts(source.pixels, source.evidence))
    if mistakes:
        return [Finding("format", True, len(mistakes), sentences=tuple(mistakes))]
    return [Finding("pixel_origin", False, len(doubts), sentences=doubts)] if doubts else []


def _nothing_learned(data: OpenedData, use: Use) -> list[Finding]:
    """Findings on data or classes without a box to learn, which only training requires."""
    classes = data.statistics.classes
    learned = data.learned
    trains = use.split == "train"
    if not any(entry.usable for entry in classes):
        advice = ""
        if trains and learned.boxes is not None:
            advice = unlearned.nothing_learned(learned, use.origin)
            advice = advice[:1].upper() + advice[1:]
        return [Finding("nothing_learned", trains, 1, advice)]
    empty = [entry.name for entry in classes if not entry.usable]
    if not empty:
        return []
    if not trains:
        return [Finding("empty_class", False, len(empty), f"{', '.join(empty)}.")]
    are_allowed = use.allow_empty_classes
    advice = unlearned.empty_classes(classes, learned.fullest, use.origin, are_allowed=are_allowed)
    return [Finding("empty_class", not are_allowed, len(empty), advice)]


def _too_many_objects(data: OpenedData, max_boxes: int | None) -> list[Finding]:
    if max_boxes is None:
        return []
    counts = data.annotations.counts
    images = np.flatnonzero(counts > max_boxes)
    if not len(images):
        return []
    sentences = tuple(
        f"{data.source.describe(int(index))}: has {counts[index]} objects." for index in images
    )
    advice = (
        f"config.data.max_boxes is {max_boxes}, and training keeps the largest of more objects; "
        f"the fullest image needs --config.data.max_boxes={counts.max()}."
    )
    return [Finding("too_many_objects", False, len(images), advice, sentences)]


def _worth_knowing(data: OpenedData) -> list[Finding]:
    """Findings worth knowing: corrections by reading, odd areas, repeated boxes, empty images."""
    findings = [
        Finding(change, False, count)
        for change, count in data.source.census.changes.items()
        if count
    ]
    findings += find_odd_areas(data.annotations)
    repeated = find_duplicate_boxes(data.annotations)
    if len(repeated):
        sentences = tuple(_duplicate_sentence(data, position) for position in repeated)
        findings.append(Finding("duplicate_box", False, len(repeated), sentences=sentences))
    if data.statistics.empty_images and data.statistics.boxes:
        advice = "config.data.keep_empty decides whether they are used for training."
        count = data.statistics.empty_images
        findings.append(Finding("empty_image", False, count, advice))
    return findings


def _duplicate_sentence(data: OpenedData, position: int) -> str:
    image = int(np.searchsorted(data.annotations.offsets, position, side="right")) - 1
    box = ", ".join(f"{number:g}" for number in data.annotations.boxes[position])
    name = data.source.classes[data.annotations.labels[position]]
    return f"{data.source.describe(image)}: has [{box}] of class {name!r} more than once."
