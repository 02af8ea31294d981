"""Meshes of devices, processes of a run, memory, and self-tests of the machine."""
