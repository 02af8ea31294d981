"""One HTML file that tells why a detector fails: errors by kind, thresholds, the worst images."""
