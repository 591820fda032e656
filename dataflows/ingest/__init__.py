"""Ways into the input topics: production of a log, and redrive of dead letters."""
