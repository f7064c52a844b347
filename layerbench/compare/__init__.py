"""From two runs, or repetitions of two runs, to what is slower, faster or the same.

Methodology: the ratio of medians is tested by their bootstrap, variation between runs is part of what a difference is
measured against, all records are tested at a false discovery rate of 5 %, and a difference counts only beyond a
threshold.
"""

from layerbench.compare.comparison import Comparison, Row, compare, failing, kinds

__all__ = ["Comparison", "Row", "compare", "failing", "kinds"]
