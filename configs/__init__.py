"""One file an experiment family; its `get_config` takes the arm."""
