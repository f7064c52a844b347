"""Network models that ship with layerbench: alpha and beta of named machines, as TOML."""
