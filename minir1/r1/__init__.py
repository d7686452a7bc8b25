"""The stages after R1-Zero: the pipeline, its data, general tasks, preference, students, scoreboard."""
