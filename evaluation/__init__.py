"""How good the warnings of a replay were, measured on its outputs alone and beside trivial scores."""
