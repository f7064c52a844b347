"""Systems that layerbench can submit to: what their schedulers and nodes want, as TOML."""
