"""The live source: two topics merged by record time, with offsets in the recovery store."""
