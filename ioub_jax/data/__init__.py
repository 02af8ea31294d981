"""Data sets, transforms and batches: numpy and OpenCV, loaded by grain, without jax."""
