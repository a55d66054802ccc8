"""The subcommands of models."""
