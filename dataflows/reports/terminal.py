"""An evaluation and a comparison as lines of text for a terminal."""

from __future__ import annotations

from typing import Any

from dataflows.reports.formatting import describe_feature
from dataflows.reports.numbers import decimal, events, figure, percent, quantity, rough_duration, share


def evaluated_lines(document: dict[str, Any]) -> list[str]:
    """Return the main figures of an evaluation, each beside its baselines."""
    points, policy = document["points"], document["policy"]
    lines = [
        f"{document['log']}: {policy['target']} {when(document)}, policy {policy['name']}",
        (
            f"{quantity(points['evaluated'])} points of {quantity(points['users'])} users evaluated"
            f"{limits(document['protocol'])}: "
            f"{quantity(points['positives'])} positive (base rate {points['base_rate']:.4f}); "
            f"{quantity(points['censored'])} censored, {quantity(points['unscored'])} without a score"
            f"{_too_late(points['too_late'])}"
        ),
        *_suspicion(document["suspect_features"]),
        "",
        f"{'score':<30}{'ROC-AUC':<26}{'average precision':<30}{'calibration error'}",
    ]
    for name, score in document["scores"].items():
        mark = {"model": "model ", "floor": "floor "}[score["kind"]]
        error = "" if score.get("calibration_error") is None else f"{score['calibration_error']:.4f}"
        figures = f"{figure(score['roc_auc'], 3):<26}{figure(score['average_precision'], 4):<30}{error}"
        lines.append(f"{mark + name:<30}{figures}".rstrip())
    lines += ["", *_published(document["published"]), *_guarantees(document["promises"]), ""]
    for budget, scores in document["at_budget"].items():
        champion = document["models"]["champion"]
        best = max((name for name in scores if name != champion), key=lambda name: scores[name]["recall"] or 0.0)
        announced = ", ".join(f"{share(scores[name]['recall'])} {name}" for name in (champion, best))
        lines.append(f"announced at a budget of {budget} per 1,000 active users and day: {announced} (the best floor)")
    lines.append("")
    for early in document["earliness"]:
        lines.append(
            f"after {events(early['events'])}: ROC-AUC {figure(early['roc_auc'], 3)}, "
            f"recall {share(early['recall'])}, {quantity(early['users'])} users"
        )
    return lines


def compared_lines(document: dict[str, Any]) -> list[str]:
    """Return the lines of a comparison: figures of both runs, warnings gained and lost, and counterexamples."""
    lines = [f"{document['log']}: {quantity(document['points'])} points scored by both{limits(document['protocol'])}"]
    for which, run in document["runs"].items():
        lines.append(
            f"{which:<7} policy {run['policy']['name']} {run['policy']['version']}, champion {run['champion']}: "
            f"ROC-AUC {figure(run['roc_auc'], 3)}, average precision {figure(run['average_precision'], 4)}"
        )
    above = document["after_above_before"]
    if above is None:
        lines.append("The targets differ, so each run is held against its own and no difference is given.")
    else:
        lines.append(
            f"after above before: ROC-AUC {figure(above['roc_auc'], 3, '+')}, "
            f"average precision {figure(above['average_precision'], 4, '+')}"
        )
    runs = document["runs"]
    for budget, recall in runs["before"]["at_budget"].items():
        lines.append(
            f"announced at a budget of {budget} per 1,000 active users and day: {share(recall)} before, "
            f"{share(runs['after']['at_budget'][budget])} after"
        )
    return lines + _changed(document)


def what_if_lines(document: dict[str, Any]) -> list[str]:
    """Return the lines of other thresholds in a replay: results of both, users and warnings gained and lost."""
    policy, users = document["policy"], document["users"]
    lines = [
        f"{document['log']}: policy {policy['name']} with other tiers; the scores are those of the replay",
        *(
            f"{tier}: {_tier(document, 'before', tier)} before, {_tier(document, 'after', tier)} after"
            for tier in dict.fromkeys((*document["thresholds"]["before"], *document["thresholds"]["after"]))
        ),
        "",
    ]
    for which in ("before", "after"):
        lines += _published(document["published"][which], which)
    lines.append(
        f"users warned of: {quantity(users['before'])} before, {quantity(users['after'])} after; "
        f"{quantity(users['gained'])} gained, {quantity(users['lost'])} lost"
    )
    return lines + _changed(document)


def _tier(document: dict[str, Any], which: str, tier: str) -> str:
    found = document["thresholds"][which].get(tier)
    if found is None:
        return "no thresholds"
    if found["enter"] is None:
        return f"promises {found['precision']:.0%}"
    return f"entered from {percent(found['enter'])} and left below {percent(found['leave'])}"


def _changed(document: dict[str, Any]) -> list[str]:
    """Return the lines of warnings gained and lost, moves between tiers, and examples."""
    warnings, tiers = document["warnings"], document["tiers"]
    moves = ", ".join(f"{move} {quantity(number)}" for move, number in tiers["moves"].items())
    lines = [
        (
            f"warnings: {quantity(warnings['before'])} before, {quantity(warnings['after'])} after; "
            f"{quantity(warnings['gained'])} gained, {quantity(warnings['lost'])} lost"
        ),
        f"users whose highest tier changed: {quantity(tiers['users_changed'])}{f' ({moves})' if moves else ''}",
    ]
    for title, key in (
        ("escalations announced before and missed now", "missed_now"),
        ("escalations missed before and announced now", "announced_now"),
        ("wrong warnings that are new", "wrong_now"),
    ):
        lines.append(f"{title}:{'' if document['worth_reading'][key] else ' none'}")
        for example in document["worth_reading"][key]:
            probability = example["probability"]
            score = "a rule" if probability is None else f"p {probability:.3f}"
            because = f", because of {', '.join(example['reasons'])}" if example["reasons"] else ""
            lines.append(f"  {example['user_id']}: {example['tier']}, {score}{because}")
    return lines


def when(document: dict[str, Any]) -> str:
    """Return in words the time limit for reaching the target."""
    if document["protocol"]["question"] == "next":
        return "before anything else of theirs is seen"
    horizon, ahead = document["policy"]["horizon_ms"], document["protocol"]["ahead_ms"]
    return f"within {rough_duration(horizon)}{f', at least {rough_duration(ahead)} ahead' if ahead else ''}"


def _too_late(points: int) -> str:
    return f", {quantity(points)} too late" if points else ""


def limits(protocol: dict[str, Any]) -> str:
    """Return the restrictions on evaluated points, each after a comma; empty if all points are evaluated."""
    parts = []
    if protocol["from_quantile"]:
        parts.append(f"from the {protocol['from_quantile']:g} quantile of their times on")
    if protocol["until_quantile"] < 1:
        parts.append(f"before the {protocol['until_quantile']:g} quantile of their times")
    if protocol["skip_first"]:
        parts.append("without each user's first")
    parts += [f"where {describe_feature(where['feature'], where['value'])}" for where in protocol["where"]]
    return ", ".join(["", *parts])


def _suspicion(features: list[str]) -> list[str]:
    if not features:
        return []
    return [
        f"LEAK? {', '.join(features)}: too good to be true alone; see that nothing in it comes from after the point"
    ]


def _published(found: dict[str, Any], which: str = "as published") -> list[str]:
    lead = found["lead"]
    given = f"{quantity(found['warnings'])} warnings, {decimal(found['per_budget'])} per 1,000 active users and day"
    announced = f"{share(found['recall'])} of {quantity(found['escalations'])} escalations announced"
    lines = [f"{which}: {given}; right {share(found['precision'])}; {announced}"]
    if lead["median_ms"] is not None:
        shares = ", ".join(
            f"at least {rough_duration(int(least))}: {part:.0%}" for least, part in lead["at_least"].items()
        )
        median = f"median {rough_duration(lead['median_ms'])} and {events(lead['median_events'])}"
        tenth = f"shortest tenth {rough_duration(lead['p10_ms'])} and {events(lead['p10_events'])}"
        lines.append(f"lead of the first warning: {median}, {tenth}; {shares}")
    return lines


def _guarantees(found: dict[str, Any]) -> list[str]:
    lines = []
    for tier, one in found["tiers"].items():
        right = f"right {share(one['precision'])} of {quantity(one['matured'])}"
        lines.append(f"{tier} promises {one['promised']:.0%}: {right}; {kept(one)}")
    if found["budget"] is not None:
        lines.append(within(found["budget"]))
    return lines


def kept(one: dict[str, Any]) -> str:
    """Return in words the number of windows in which a precision guarantee was kept."""
    windows = len(one["windows"])
    if not windows:
        return f"too few to measure it, which takes {quantity(one['window'])}"
    return f"kept in {one['kept']} of {windows} windows of {quantity(one['window'])}, refuted in {one['refuted']}"


def within(one: dict[str, Any]) -> str:
    """Return in words how far the warning budget was kept."""
    above, hours, most, held = (quantity(one[key]) for key in ("hours_above", "hours", "most", "held_back"))
    budget = f"budget of {quantity(one['budget'])} newly warned users an hour"
    return f"{budget}: {above} of {hours} hours above it, at most {most}; held back at {held} points"
