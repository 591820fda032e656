"""The command `forewarn`: one module a group of subcommands."""
