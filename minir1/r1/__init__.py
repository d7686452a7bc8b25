"""The stages after R1-Zero: pipeline, data, general tasks, preference, students, scoreboard."""
