"""The parts that a configuration describes: behind this door nothing reads one."""
