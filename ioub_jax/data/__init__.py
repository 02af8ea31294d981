"""Data sets, transforms and batches: numpy and OpenCV, loaded by grain; nothing here needs jax."""
