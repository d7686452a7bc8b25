"""Run the notebooks and save copies with their outputs in rendered/.

python notebooks/build.py                     all of them
python notebooks/build.py 06_grpo_by_hand     one
MINIR1_CI=1 python notebooks/build.py         a shorter version of each; nothing is saved

The notebooks here are the students': they hold no output. rendered/ is for reading, with smaller
pictures.
"""

import base64
import hashlib
import io
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
RENDERED = FOLDER / "rendered"
COLOURS = 32  # of a rendered picture


def notebooks() -> list[Path]:
    return sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))


def digest(notebook) -> str:
    """Of the code cells: tells whether saved outputs belong to this code."""
    code = "\0".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def execute(path: Path, limit: int = 600):
    """The notebook, run from a clean state in its own folder.

    Raises on an error, or on a cell that takes `limit` seconds.
    """
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(FOLDER)}}
    settings = {"timeout": limit, "kernel_name": "python3", "record_timing": False}
    NotebookClient(notebook, resources=where, **settings).execute()
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "minir1": {"code": digest(notebook)},
    }
    return notebook


def smaller(picture: str) -> str:
    """A PNG (base64) in few colours."""
    from PIL import Image  # matplotlib brings it

    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    image = image.quantize(COLOURS, dither=Image.Dither.NONE)
    image.save(file := io.BytesIO(), "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def save(notebook, path: Path) -> None:
    """With outputs into rendered/, without them to `path`."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = smaller(output.data["image/png"])
    RENDERED.mkdir(exist_ok=True)
    nbformat.write(notebook, RENDERED / path.name)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    del notebook.metadata["minir1"]
    nbformat.write(notebook, path)


def main(names: list[str]) -> None:
    for path in [FOLDER / f"{name}.ipynb" for name in names] or notebooks():
        start = time.time()
        notebook = execute(path, limit=3600)  # a busy machine is no error
        if "MINIR1_CI" not in os.environ:
            save(notebook, path)
        print(f"{path.name}: {time.time() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
