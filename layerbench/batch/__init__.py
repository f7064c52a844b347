"""Batch systems: profiles of machines, job scripts, and the commands that submit, follow, collect and cancel jobs."""
