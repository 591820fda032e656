"""Online models, one per file, and the frozen versions that score; `lookalike` also has files for what it is made of.

A model of numbers is given them squashed: `sign(x) * log1p(|x|)`, because counts and gaps are heavy-tailed. An absent
feature is left out of what a model learns and adds nothing to what it scores.

What a model publishes is a probability that undoes how it was taught. Decision points are learnt at once as
negatives (a share `sample` of them) and again as positives with weight `w` if the user escalates, so the odds a model
fits are `w * P / sample` where P is the probability of escalation, and `P = odds * sample / w`. With `sample = w = 1`
that is `b / (1 - b)`: fake-negative calibration (Ktena et al., RecSys 2019).
"""
