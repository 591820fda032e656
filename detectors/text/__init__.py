"""A toxicity scorer for chat: fast, linear, trained on labelled messages, and stored as plain numbers.

Its result is the probability, between 0 and 1, that a message would have been labelled toxic. Profiles count it as the
signal `toxicity`. Logs without text are processed without it.
"""
