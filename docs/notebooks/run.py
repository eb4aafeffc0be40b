"""Execute the notebooks in place, so that their outputs are what they make: python docs/notebooks/run.py."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient


def main() -> None:
    """Every notebook beside this file."""
    for path in sorted(Path(__file__).parent.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # when it ran
            if "outputs" in cell:  # progress bars are not worth keeping
                cell.outputs = [output for output in cell.outputs if output["output_type"] != "stream"]
        nbformat.write(notebook, path)
        print(path)


if __name__ == "__main__":
    main()
