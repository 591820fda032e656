"""The part of SciPy that forewarn uses; it ships no types of its own."""
