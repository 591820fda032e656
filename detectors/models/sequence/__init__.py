"""The sequence model: n-grams of event tokens."""
