"""The machine a program runs on: meshes of devices, processes, memory, what it computes wrongly."""
