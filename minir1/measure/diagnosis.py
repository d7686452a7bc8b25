"""What a run is doing, in words."""

from minir1.report import words

diagnosis = words.verdict
