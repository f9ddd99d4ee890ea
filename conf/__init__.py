"""The configuration of every command: groups and defaults, as YAML."""
