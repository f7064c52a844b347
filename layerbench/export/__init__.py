"""From a run's records to what other programs read.

Each foreign format is a file of its own, and so is what they share. Importing this package is cheap: pandas and pyarrow
are loaded by the functions that need them.
"""

from layerbench.export.formats import BINARY, FORMATS, export
from layerbench.export.write import print_bytes

__all__ = ["BINARY", "FORMATS", "export", "print_bytes"]
