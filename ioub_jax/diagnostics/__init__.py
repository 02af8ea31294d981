"""Why detections are as good as they are, and whether anchors can reach a data set's boxes."""
