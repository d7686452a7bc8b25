"""What each puzzle of the notebooks asks for: the table. The loops stand in puzzle_specs_NN.py, one file a notebook. (Spoilers.)

The loops are slow, and meant to be beyond doubt. `PUZZLES` maps "notebook.name" to the specification and to a function that
draws its arguments.
"""

from grader import tour as puzzle_specs_00, transformer as puzzle_specs_01, experts as puzzle_specs_02, base_model as puzzle_specs_03, sampler as puzzle_specs_04, rewards as puzzle_specs_05, grpo as puzzle_specs_06, r1_zero as puzzle_specs_07, pipeline as puzzle_specs_08, reading_a_run as puzzle_specs_09

_FILES = (
    puzzle_specs_00,
    puzzle_specs_01,
    puzzle_specs_02,
    puzzle_specs_03,
    puzzle_specs_04,
    puzzle_specs_05,
    puzzle_specs_06,
    puzzle_specs_07,
    puzzle_specs_08,
    puzzle_specs_09,
)
PUZZLES = {name: puzzle for file in _FILES for name, puzzle in file.PUZZLES.items()}
