"""Training of a detector: `loop.Run(experiment, workdir).train()` and its parts."""
