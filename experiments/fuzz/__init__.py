"""Valid files of every format, changed at random and read: `make fuzz`."""
