"""Training of a detector: `loop.train_and_evaluate(config, workdir)` and its parts."""
