"""The subcommands about models."""
