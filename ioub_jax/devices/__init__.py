"""Meshes of devices, processes, memory, and self-tests of the machine that a program runs on."""
