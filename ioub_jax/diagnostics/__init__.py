"""Diagnostics of detections, and of whether anchors can reach a data set's boxes."""
