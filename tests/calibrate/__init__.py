"""The command ``calibrate`` and what it measures."""
