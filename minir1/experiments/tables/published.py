"""Results of others, in percent; minir1/data/published.json names their sources."""

from minir1.console.files import read_object
from minir1.data import FOLDER

_FOUND = read_object(FOLDER / "published.json")
BUDGETS, GPT3, PRODUCTS, GYM = (_FOUND[name] for name in ("BUDGETS", "GPT3", "PRODUCTS", "GYM"))
SOS4, SOS4_OTHER, THREE_TO_FOUR = (_FOUND[n] for n in ("SOS4", "SOS4_OTHER", "THREE_TO_FOUR"))
