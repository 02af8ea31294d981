"""The runs of several arms with several seeds, trained and compared."""
