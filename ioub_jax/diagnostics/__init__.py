"""Diagnostics of detections, and of how well anchors reach the boxes of a data set."""
