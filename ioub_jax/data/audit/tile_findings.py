"""Findings on the tiles that a data set's images are cut into."""

from ioub_jax.data.audit.findings import Finding
from ioub_jax.data.sources.tiles import TileCounts

# There is a finding if more than this share of the boxes is cut in every tile.
_NOTEWORTHY = 0.01


def find_in_tiles(counts: TileCounts, max_boxes: int) -> list[Finding]:
    """Finds boxes that no tile shows whole, and tiles with more objects than slots.

    Args:
      counts: the counts of objects in the tiles.
      max_boxes: the ground-truth slots of a tile.

    Returns:
      a finding for each of the two that occurs.
    """
    findings = []
    if counts.cut > _NOTEWORTHY * counts.boxes:
        overlap = counts.overlap_for_all
        way_out = (
            f"larger tiles, such as --config.data.tiles.size={_size_for(counts)}, show all boxes "
            "whole"
        )
        if overlap is not None and overlap <= 0.5:
            way_out = (
                f"--config.data.tiles.overlap={overlap:g} shows all boxes whole, and so do "
                "larger tiles"
            )
        advice = (
            f"Their longest side is {counts.longest:,} pixels and neighboring tiles share "
            f"{counts.tiling.shared:,}: {way_out}."
        )
        findings.append(Finding("cut_box", False, counts.cut, advice))
    if counts.fullest > max_boxes:
        advice = (
            f"config.data.max_boxes is {max_boxes}, and training keeps the largest of more "
            f"objects; the fullest tile needs --config.data.max_boxes={counts.fullest}."
        )
        findings.append(Finding("full_tile", False, counts.full_tiles, advice))
    return findings


def _size_for(counts: TileCounts) -> int:
    """A side of tiles, a multiple of 32, whose overlap is at least as long as the longest box."""
    overlap = max(counts.tiling.overlap, 0.1)
    return int(-(-counts.longest // (32 * overlap))) * 32
