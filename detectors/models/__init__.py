"""Online models, one package per family, and the frozen versions that score.

Numeric features reach a model symlog-transformed, `sign(x) * log1p(|x|)`, because counts and gaps are heavy-tailed. An
absent feature is skipped in learning and adds nothing to a score.

A published probability corrects for sampling and class weight. Decision points are learnt at once as negatives (a share
`sample` of them), and again as positives with weight `w` if the user escalates. A model therefore fits the odds
`w * P / sample`, where P is the probability of escalation, and `P = odds * sample / w`. With `sample = w = 1` and a
fitted probability b this is `b / (1 - b)`: fake-negative calibration (Ktena et al., RecSys 2019).
"""
