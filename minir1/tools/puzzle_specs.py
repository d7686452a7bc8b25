"""What each puzzle of the notebooks asks for: the table. The loops stand in puzzle_specs_NN.py, one file a notebook. (Spoilers.)

The loops are slow, and meant to be beyond doubt. `PUZZLES` maps "notebook.name" to the specification and to a function that
draws its arguments.
"""

from minir1.tools import (
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
