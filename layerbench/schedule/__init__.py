"""How many nodes for each of many jobs: curves, allotments, plans, bounds, and what becomes of them online."""
