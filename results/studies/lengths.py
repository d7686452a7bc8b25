"""Characters of a corpus with dose 0 over those with dose 80: python results/studies/lengths.py"""

from random import Random

from minir1.experiments.studies.corpora import write
from minir1.presets import PRESETS


def size(dose: float, preset: str) -> int:
    rng, corpus = Random(4), PRESETS[preset].corpus
    return sum(len(write({"dose": dose}, rng, corpus)) for _ in range(4000))


for preset in ("cpu", "t4"):
    print(preset, size(0.0, preset) / size(0.8, preset))
