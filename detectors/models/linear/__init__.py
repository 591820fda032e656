"""The linear model: standard scaling and logistic regression by AdaGrad."""
