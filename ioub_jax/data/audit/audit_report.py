"""An audit as text for people and as JSON for machines."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from ioub_jax.data.audit.audit import Audit
from ioub_jax.data.audit.findings import Finding
from ioub_jax.data.audit.network_scale import Canvases
from ioub_jax.data.audit.statistics import Histogram, Statistics
from ioub_jax.data.sources.learned import ClassCount, Learned
from ioub_jax.printing import printable

_SENTENCES = 3  # number of sentences of a finding in the text; the JSON has all of them
_CLASSES = 100  # number of rows in the table of classes
_BAR = 30  # length of the longest bar in characters
# Column titles of the table of classes, by attribute of `ClassCount`.
_COLUMNS = {
    "boxes": "boxes",
    "usable": "usable",
    "crowds": "crowds",
    "difficult": "difficult",
    "beyond_max_boxes": "too many",
    "left_out": "left out",
    "images": "images",
}
_ALWAYS = ("boxes", "usable", "images")


def to_json(audit: Audit) -> dict[str, Any]:
    """The audit for `json`: all findings with all of their sentences, and the statistics."""
    return {
        "must_be_fixed": audit.must_be_fixed,
        "findings": [
            {"heading": finding.heading, **dataclasses.asdict(finding)}
            for finding in audit.findings
        ],
        "statistics": dataclasses.asdict(audit.data.statistics) if audit.data else None,
        "learned": _learned_to_json(audit.data.learned) if audit.data else None,
    }


def _learned_to_json(learned: Learned) -> dict[str, Any]:
    """The counts of boxes and images; those of classes are among the statistics.

    The boxes are None if counting them would require drawing every image.
    """
    return {
        "lines": learned.lines(),
        "boxes": dataclasses.asdict(learned.boxes) if learned.boxes else None,
        "images": dataclasses.asdict(learned.images),
    }


def format_findings(findings: Sequence[Finding]) -> str:
    """The findings under two headings, each with its first sentences."""
    parts = []
    for title, wanted in (("MUST BE FIXED", True), ("WORTH KNOWING", False)):
        chosen = [finding for finding in findings if finding.must_be_fixed == wanted]
        if chosen:
            parts.append("\n".join([title, *map(_format_finding, chosen)]))
    return "\n\n".join(parts) if parts else "No problems were found."


def _format_finding(finding: Finding) -> str:
    lines = [f"  {finding.heading}: {finding.count:,}"]
    if finding.advice:
        lines.append(f"    {printable(finding.advice)}")
    lines += [f"    - {printable(sentence)}" for sentence in finding.sentences[:_SENTENCES]]
    more = len(finding.sentences) - _SENTENCES
    if more > 0:
        lines.append(f"    ... and {more:,} more")
    return "\n".join(lines)


def format_statistics(statistics: Statistics) -> str:
    """The counts, the table of classes and the histograms."""
    counts = [
        f"{statistics.images:,} images, {statistics.empty_images:,} of them without objects",
        f"{statistics.boxes:,} boxes, {statistics.crowds:,} of them crowds, "
        f"{statistics.difficult:,} difficult; {statistics.most_boxes:,} in the fullest image"
        + (f"; further regions to ignore: {statistics.ignored:,}" if statistics.ignored else ""),
        "COCO's size classes, by annotated area in original pixels, without crowds: "
        + ", ".join(f"{name} {count:,}" for name, count in statistics.size_classes.items()),
        "most frequent image sizes, width x height: "
        + ", ".join(f"{width}x{height} ({n:,})" for height, width, n in statistics.image_sizes),
    ]
    return "\n\n".join(
        [
            "\n".join(counts),
            _format_classes(statistics.classes),
            _format_histogram("Boxes per image", statistics.boxes_per_image, whole=True),
            _format_histogram("Side of a box, sqrt(width height), in pixels", statistics.box_sides),
            _format_histogram("Width over height of a box", statistics.box_aspects),
            _format_histogram("Width over height of an image", statistics.image_aspects),
        ]
    )


def format_canvases(configured: Canvases, suggested: Sequence[Canvases]) -> str:
    """Cost of the configured canvases, and of alternatives."""
    lines = [
        f"Padding on config.data.canvases={configured.canvases}: "
        f"{configured.padding_share:.1%} of the images' pixels"
    ]
    for other in suggested:
        value = str(other.canvases).replace(" ", "")
        lines.append(f'  {other.padding_share:6.1%} with --config.data.canvases="{value}"')
    if suggested:
        lines.insert(1, "Less padding with these canvases (height, width):")
    return "\n".join(lines)


def _format_classes(classes: Sequence[ClassCount]) -> str:
    """A row for each class, the most frequent first; columns that have only zeros are left out."""
    ordered = sorted(classes, key=lambda entry: -entry.boxes)
    shown = [printable(entry.name) for entry in ordered]
    width = max([len("class"), *map(len, shown)])
    columns = [
        name
        for name in _COLUMNS
        if name in _ALWAYS or any(getattr(entry, name) for entry in classes)
    ]
    names = "".join(f"  {_COLUMNS[name]:>9}" for name in columns)
    lines = [f"{'class':{width}}  {'id':>5}{names}"]
    for name, entry in zip(shown[:_CLASSES], ordered, strict=False):
        numbers = "".join(f"  {getattr(entry, column):9,}" for column in columns)
        lines.append(f"{name:{width}}  {entry.category_id!s:>5}{numbers}")
    if len(ordered) > _CLASSES:
        lines.append(f"... and {len(ordered) - _CLASSES:,} more")
    return "\n".join(lines)


def _format_histogram(title: str, histogram: Histogram, *, whole: bool = False) -> str:
    """A bar for each bin; empty bins at both ends are left out."""
    filled = [position for position, count in enumerate(histogram.counts) if count]
    if not filled:
        return f"{title}: none"
    lines = [title]
    for position in range(filled[0], filled[-1] + 1):
        count = histogram.counts[position]
        bar = "#" * -(-_BAR * count // max(histogram.counts))
        name = _bin_name(histogram.edges[position], histogram.edges[position + 1], whole)
        lines.append(f"  {name:>14}  {bar:{_BAR}}  {count:,}")
    return "\n".join(lines)


def _bin_name(low: float | None, high: float | None, whole: bool) -> str:
    if high is None:
        return f"{low:g} or more"
    if not whole:
        return f"{low:g} to {high:g}"
    last = high - 1
    return f"{low:g}" if low == last else f"{low:g} to {last:g}"
