"""The live source: two topics merged by record time, with offsets in recovery."""
