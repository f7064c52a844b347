"""From a run's records to tables, figures and text.

Importing this package is cheap: pandas and matplotlib are loaded by the functions that need them.
"""

from layerbench.report.text import print_summary
from layerbench.report.write import report

__all__ = ["print_summary", "report"]
