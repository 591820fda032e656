"""The additive model: log-odds as a sum of piecewise functions of features."""
