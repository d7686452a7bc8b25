"""What surrounds a run: its folder, measurements, plots, evaluation, export."""
