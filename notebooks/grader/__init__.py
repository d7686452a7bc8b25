"""Grades the puzzles of the notebooks: from grader import check."""

from grader.check import check, first_fault

__all__ = ["check", "first_fault"]
