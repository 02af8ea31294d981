"""The parts that a configuration describes: here it is read, behind here there are arguments."""
