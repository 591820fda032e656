"""The `forewarn` command: one module for each group of subcommands."""
