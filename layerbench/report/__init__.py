"""From a run's records to tables, figures and text.

Importing this package is cheap: pandas and matplotlib are loaded by the functions that need them.
"""

from layerbench.report.text import print_summary
from layerbench.report.write import page_left_out, report

__all__ = ["page_left_out", "print_summary", "report"]
