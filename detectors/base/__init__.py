"""Types and arithmetic that every detector uses: points, packed vectors, state, clock, elementary functions."""
