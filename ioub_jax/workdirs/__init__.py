"""Contents of a run's folder: configuration, classes, checkpoints, records and a lock."""
