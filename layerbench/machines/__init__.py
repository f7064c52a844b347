"""Machine profiles that ship with layerbench: what named machines compute, move and exchange, as TOML."""
