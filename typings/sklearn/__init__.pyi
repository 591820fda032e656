"""The part of scikit-learn that forewarn uses; it ships no types of its own."""
