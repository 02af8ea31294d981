"""What a run keeps in its folder: configuration, classes, checkpoints, records, a lock."""
