"""Stand-ins for schedulers and launchers: they check what they are given, and answer in the real formats."""
