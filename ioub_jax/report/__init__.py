"""One HTML file that explains why a detector fails: errors by kind, thresholds, worst images."""
