"""A toxicity scorer for chat: fast, linear, trained on labelled messages, and carried about as plain numbers.

Its result is a probability between 0 and 1 that a message would have been labelled toxic, which profiles count as the
signal `toxicity`. Logs without text do without it.
"""
