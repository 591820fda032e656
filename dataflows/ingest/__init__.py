"""Ways into the input topics: sending a log, and sending dead letters again."""
