"""Pixel convention of the corners in VOC's XMLs, which differs between tools.

The devkit counts pixels from 1, and the right and bottom edges are the last pixels inside the box.
Many tools count pixels from 0 instead, with the right and bottom edges outside the box, and some of
them add 1 to all four numbers. No file states its convention, so it is inferred from the numbers in
all files and from the tool that wrote them.
"""

import collections
import dataclasses
import logging
from collections.abc import Callable, Sequence

import numpy as np

_log = logging.getLogger(__name__)

#: By the name of a convention, what is subtracted from xmin, ymin, xmax and ymax as written.
CONVENTIONS = {
    "devkit": (1.0, 1.0, 0.0, 0.0),
    "zero_based": (0.0, 0.0, 0.0, 0.0),
    "one_based_exclusive": (1.0, 1.0, 1.0, 1.0),
}
_MEANINGS = {
    "devkit": "the first pixel is 1, and xmax and ymax are inside",
    "zero_based": "the first pixel is 0, and xmax and ymax are outside",
    "one_based_exclusive": "the first pixel is 1, and xmax and ymax are outside",
}
#: The conventions of tools, which are recognized by their output (`voc_xml.tool_of`).
TOOLS = {
    "Label Studio": "zero_based",
    "LabelMe": "zero_based",
    "datumaro or CVAT": "zero_based",
    "globox": "zero_based",
    "makesense.ai": "zero_based",
    "pylabel": "zero_based",
    "LabelImg": "devkit",
    "the devkit": "devkit",
}
# Fewer coordinates than `_FEW` may be errors, unless there are so few boxes (`_FEW_BOXES`) that no
# more can be expected.
_FEW, _FEW_BOXES = 3, 100


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Evidence from m boxes on their pixel convention.

    Attributes:
      boxes: number of boxes with four finite numbers.
      fractions: number of those boxes that have a number which is not an integer.
      decimals: number of those boxes that are written with a decimal point, integer or not.
      zeros: number of xmin and ymin that are 0.
      ones: number of xmin and ymin that are 1.
      below: number of xmin and ymin below 1.
      at_edge: number of xmax and ymax that equal the width or height of their image.
      beyond: number of xmax and ymax that are larger than that by exactly one.
      far_beyond: number of xmax and ymax that are larger than that by more than one.
      tool: the tool that wrote most of the XMLs (`voc_xml.tool_of`); '' if it is not known.
      files: number of XMLs written by that tool.
    """

    boxes: int
    fractions: int
    decimals: int
    zeros: int
    ones: int
    below: int
    at_edge: int
    beyond: int
    far_beyond: int
    tool: str
    files: int


@dataclasses.dataclass(frozen=True)
class Decision:
    """Decision on the pixel convention of a data set.

    Attributes:
      pixels: a key of `CONVENTIONS`.
      reason: the evidence for the decision, or what evidence is lacking.
      is_certain: whether the files leave no doubt.
    """

    pixels: str
    reason: str
    is_certain: bool

    def sentence(self, title: str) -> str:
        """One line with the decision and its reason, and with the alternative if there is doubt."""
        told = f"{title}: pixels are read as {self.pixels!r} ({_MEANINGS[self.pixels]}), since "
        if self.is_certain:
            return f"{told}{self.reason} (config.data.voc.pixels={self.pixels})."
        others = [
            f"--config.data.voc.pixels={other} {_moved(self.pixels, other)}"
            for other in CONVENTIONS
            if other != self.pixels
        ]
        return (
            f"{told}{self.reason}; this is not certain. If the tool that wrote them has another "
            f"convention, {' and '.join(others)}."
        )


def _moved(pixels: str, other: str) -> str:
    """Shift of the boxes under another convention, in words."""
    parts = []
    for edges, index in (("left and top", 0), ("right and bottom", 2)):
        pixel = CONVENTIONS[pixels][index] - CONVENTIONS[other][index]
        if pixel:
            parts.append(f"{edges} edges by {pixel:+g}")
    return f"moves {' and '.join(parts)} px"


def gather_evidence(
    corners: np.ndarray, sizes: np.ndarray, decimals: np.ndarray, tools: Sequence[str]
) -> Evidence:
    """Counts the evidence on the pixel convention.

    Args:
      corners: float64 `[m, 4]`, xmin, ymin, xmax, ymax as written; NaN where there is no number.
      sizes: `[m, 2]`, height and width of each box's image.
      decimals: bool `[m]`, whether a number of the box is written with a decimal point.
      tools: the tool that wrote each XML, '' if it is not known.

    Returns:
      the evidence.
    """
    is_known = np.isfinite(corners).all(axis=1)
    corners = corners[is_known]
    low, beyond = corners[:, :2], corners[:, 2:] - sizes[is_known][:, ::-1]
    tool, files = next(iter(collections.Counter(tools).most_common(1)), ("", 0))
    return Evidence(
        boxes=len(corners),
        fractions=int((corners != np.round(corners)).any(axis=1).sum()),
        decimals=int(decimals[is_known].sum()),
        zeros=int((low == 0).sum()),
        ones=int((low == 1).sum()),
        below=int((low < 1).sum()),
        at_edge=int((beyond == 0).sum()),
        beyond=int((beyond == 1).sum()),
        far_beyond=int((beyond > 1).sum()),
        tool=tool,
        files=files,
    )


def decide(evidence: Evidence) -> Decision:
    """The convention that the evidence supports.

    Proof by numbers takes precedence over the known convention of a tool, and this over what the
    numbers make likely. Without any evidence the convention is the devkit's, which defined the
    format.
    """
    for rule in _RULES:
        if (decision := rule(evidence)) is not None:
            return decision
    reason = f"none of {evidence.boxes:,} boxes shows how pixels are counted"
    if evidence.tool:
        reason = f"versions of {evidence.tool} differ, and {reason}"
    return Decision("devkit", reason, not evidence.boxes)


def _exclusive(found: Evidence) -> Decision | None:
    """Decides by right edges that are beyond the image by exactly one, with left edges from 1."""
    is_so = found.beyond > found.at_edge and not found.far_beyond and not found.below
    if not is_so or (found.beyond < _FEW and found.boxes > _FEW_BOXES):
        return None
    reason = (
        f"{found.beyond:,} xmax or ymax {_are(found.beyond)} one beyond the image, none is more, "
        "and no xmin or ymin is below 1"
    )
    return Decision("one_based_exclusive", reason, found.beyond >= _FEW or not found.at_edge)


def _fractions(found: Evidence) -> Decision | None:
    if 2 * found.fractions <= found.boxes:
        return None
    reason = (
        f"{found.fractions:,} of {found.boxes:,} boxes have fractions, which pixels do not have"
    )
    return Decision("zero_based", reason, True)


def _zeros(found: Evidence) -> Decision | None:
    if found.zeros <= found.ones:
        return None
    reason = f"{found.zeros:,} xmin or ymin {_are(found.zeros)} 0 and {found.ones:,} are 1"
    is_certain = found.zeros >= _FEW or TOOLS.get(found.tool) == "zero_based"
    return Decision("zero_based", reason, is_certain)


def _counting_tool(found: Evidence) -> Decision | None:
    pixels = TOOLS.get(found.tool)
    if pixels is None or pixels == "devkit":
        return None
    return Decision(pixels, f"{found.tool} has written {found.files:,} of the files", True)


def _edges(found: Evidence) -> Decision | None:
    """Decides by boxes that begin at 1 and boxes that end at the last pixel of the image."""
    if not found.ones or not found.at_edge:
        return None
    reason = (
        f"{found.ones:,} xmin or ymin {_are(found.ones)} 1, {found.zeros:,} are 0, and "
        f"{found.at_edge:,} xmax or ymax are the width or height of the image"
    )
    return Decision("devkit", reason, True)


def _devkit_tool(found: Evidence) -> Decision | None:
    if TOOLS.get(found.tool) != "devkit":
        return None
    return Decision("devkit", f"{found.tool} has written {found.files:,} of the files", True)


def _decimals(found: Evidence) -> Decision | None:
    if 2 * found.decimals <= found.boxes:
        return None
    reason = f"{found.decimals:,} of {found.boxes:,} boxes are written with a decimal point"
    return Decision("zero_based", reason, False)


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


_RULES: tuple[Callable[[Evidence], Decision | None], ...] = (
    _exclusive,
    _fractions,
    _zeros,
    _counting_tool,
    _edges,
    _devkit_tool,
    _decimals,
)


def choose_pixels(given: str | None, evidence: Evidence, title: str) -> str:
    """The convention of a data set, as given or else by the evidence.

    Logs a decision by the evidence, and a given convention that contradicts certain evidence.

    Args:
      given: a key of `CONVENTIONS`, or None.
      evidence: the evidence in the data set's files.
      title: name of the data set in the log.

    Returns:
      the convention.

    Raises:
      ValueError: `given` is not a convention.
    """
    decision = decide(evidence)
    if given is None:
        if evidence.boxes:
            log = _log.info if decision.is_certain else _log.warning
            log("%s", decision.sentence(title))
        return decision.pixels
    if given not in CONVENTIONS:
        raise ValueError(f"pixels is {given!r} and must be one of {tuple(CONVENTIONS)}.")
    if given != decision.pixels and decision.is_certain and evidence.boxes:
        _log.warning(
            "%s: pixels are read as %r, although %s, as in %r; if these are right, that %s.",
            title,
            given,
            decision.reason,
            decision.pixels,
            _moved(given, decision.pixels),
        )
    return given
