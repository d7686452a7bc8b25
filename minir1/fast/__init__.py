"""Fast twins of core functions: same signatures, tested equal."""
