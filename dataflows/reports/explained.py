"""The explanation of a user as lines of text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from dataflows.reports.formatting import describe_feature, describe_reason
from dataflows.reports.numbers import count, duration, moment, percent, signed
from dataflows.runtime.escaping import visible
from schemas.records.decisions import Reason

WIDTH = 80
"""Columns of the text."""
SMALL = 0.05
"""Contributions of at most this size (log-odds) are summed up in one line, unless all are asked for."""
_NOTHING = 0.005
"""Contributions below this (log-odds) are +0.00 in print."""
MOST_CHANGES = 5
"""Maximum number of single changes in the text, those with the lowest score first."""
_NUMBER = 8
"""Columns of a contribution."""
_JOIN = "\ue000"
"""Stands for a space at which no line breaks; text from outside never contains it, because `visible` escapes it."""
_TIME = len(moment(0)) + 2
_UNSCORED = {
    "no_version": "no version of the model was old enough to score it",
    "not_learnt": "insufficient history: the model had not learnt enough",
    "few_events": "insufficient history: the user had fewer events than the policy asks for",
    "model_silent": "insufficient history: the model cannot score this point",
    "not_told": "insufficient history: the model gave none",
}
_UNSCORED_BRIEFLY = {
    "no_version": "no score (no version old enough)",
    "not_learnt": "no score (not learnt enough)",
    "few_events": "no score (too few events)",
    "model_silent": "no score (the model cannot)",
    "not_told": "no score",
}
_NOT_COUNTED = {
    "too_late": "not counted: the escalation came with the same record",
    "log_ends": "not counted: the log ends before the horizon has passed",
}


def explained_lines(document: dict[str, Any], *, everything: bool = False) -> list[str]:
    """Return the explanation of a user; with `everything`, each point and each contribution has a line."""
    lines = [*_head(document), ""]
    for entries in _stretches(document["timeline"], everything=everything):
        lines += _stretch(entries) if len(entries) > 1 else _entry(entries[0], document["policy"]["horizon_ms"])
    return [*lines, "", *_point(document, everything=everything)]


def _head(document: dict[str, Any]) -> list[str]:
    policy = document["policy"]
    user = visible(document["user_id"])
    scored = "" if document["scored"] == document["points"] else f", {document['scored']:,} of them with a score"
    lines = _wrapped(
        f"{user} in {visible(document['log'])}: {count(document['points'], 'decision point')}{scored}, "
        f"from {moment(document['first_point'])} to {moment(document['last_point'])}. Times are in UTC."
    )
    if document["erased_before"]:
        lines += _wrapped("The user was erased; only what came after that is shown.")
    if not document["escalations"]:
        lines += _wrapped(f"Never escalated (target {visible(policy['target'])}).")
    for one in document["escalations"]:
        said = f"Escalated {moment(one['as_of'])}"
        if one["overturned_at"] is not None:
            said += f", overturned {moment(one['overturned_at'])}"
        elif one["warned_at"] is not None:
            said += f", announced by a warning {duration(one['as_of'] - one['warned_at'])} before"
        else:
            said += ", announced by no warning"
        lines += _wrapped(f"{said}.")
    warnings = document["warnings"]
    right = [one["right"] for one in warnings]
    answers = ((right.count(True), "right"), (right.count(False), "wrong"), (right.count(None), "not counted"))
    said = ", ".join(f"{many:,} {answer}" for many, answer in answers if many)
    lines += _wrapped(
        f"{count(len(warnings), 'warning')}{f': {said}' if said else ''}. A warning is right if an escalation that is "
        f"not overturned follows within {duration(policy['horizon_ms'])}."
    )
    if not document["reproduced"]:
        lines += _wrapped("Attention: the tiers in the file are not those that the policy gives for its scores.")
    return lines


def _stretches(timeline: list[dict[str, Any]], *, everything: bool) -> Iterator[list[dict[str, Any]]]:
    """Yield entries that have a line of their own, and stretches of points at which nothing else happened."""
    quiet: list[dict[str, Any]] = []
    for entry in timeline:
        plain = not (entry["outcomes"] or entry["warning"] or entry["lowered"])
        kind = "message" if entry["event"] is None else entry["event"]["kind"]
        if plain and kind == "message" and not everything:
            if quiet and _kind(quiet[-1]) != _kind(entry):
                yield quiet
                quiet = []
            quiet.append(entry)
            continue
        if quiet:
            yield quiet
            quiet = []
        yield [entry]
    if quiet:
        yield quiet


def _kind(entry: dict[str, Any]) -> tuple[bool, str | None, str | None]:
    """Return what the points of one stretch have in common: whether there are any, why no score, and the tier."""
    point = entry["point"]
    return (True, None, None) if point is None else (False, point["unscored"], point["tier"])


def _stretch(entries: list[dict[str, Any]]) -> list[str]:
    """Return the line of consecutive points at which nothing but the score changed."""
    what = count(len(entries), "point")
    if all(entry["event"] is not None for entry in entries):
        channels = len({entry["event"]["channel"] for entry in entries})
        what = f"{count(len(entries), 'message')} in {count(channels, 'channel')}"
    until = f"until {moment(entries[-1]['as_of'])}"
    if entries[0]["point"] is None:
        return _timed(entries[0]["as_of"], f"{what}, {until}: without a decision point")
    points = [entry["point"] for entry in entries]
    if points[0]["unscored"] is not None:
        return _timed(entries[0]["as_of"], f"{what}, {until}: {_UNSCORED_BRIEFLY[points[0]['unscored']]}")
    low, high = (end(point["probability"] for point in points) for end in (min, max))
    said = percent(low) if percent(low) == percent(high) else f"{percent(low)} to {percent(high)}"
    return _timed(entries[0]["as_of"], f"{what}, {until}: {said}{_towards(points[-1])}")


def _entry(entry: dict[str, Any], horizon: int) -> list[str]:
    """Return the lines of one event, and of all that came of it."""
    event, point, warning = entry["event"], entry["point"], entry["warning"]
    said = "point" if event is None else _event(event)
    if point is not None:
        score = _UNSCORED_BRIEFLY[point["unscored"]] if point["unscored"] else percent(point["probability"])
        towards = "" if point["unscored"] or warning or entry["lowered"] else _towards(point)
        said = f"{said}: {score}{towards}"
        if point["held_back"]:
            said += "; the budget holds a warning back"
    elif event is not None and not entry["outcomes"]:
        said = f"{said}: without a decision point"
    elif event is None:
        said = ""
    lines = _timed(entry["as_of"], said) if said else []
    for outcome in entry["outcomes"]:
        text = "ESCALATED" if outcome["kind"] == "escalated" else "the escalation is overturned"
        lines += _timed(outcome["as_of"], text)
    if warning is not None:
        lines += _warning(warning, horizon)
    if entry["lowered"] is not None:
        lowered = entry["lowered"]
        lines += _indented(f"{lowered['previous_tier']} to {lowered['tier']}")
    return lines


def _event(event: dict[str, Any]) -> str:
    said = {"reversal": "sanction taken back", "exposure": "intervention shown"}.get(event["kind"], event["kind"])
    if event.get("action") is not None:
        said = f"{said} ({event['action']}, severity {event['severity']})"
    return f"{said} in {visible(event['channel'])}" if event.get("channel") is not None else said


def _towards(point: dict[str, Any]) -> str:
    """Return the tier in force after a point, and where the next one begins."""
    within = "" if point["tier"] == "none" else f", in {point['tier']}"
    if point["next_tier"] is None:
        return within
    if point["next_enter"] is None:
        return f"{within} (no score enters {point['next_tier']} yet)"
    return f"{within} ({point['next_tier']} from {percent(point['next_enter'])})"


def _warning(warning: dict[str, Any], horizon: int) -> list[str]:
    by = f"by its score (from {percent(warning['enter'])})" if warning["by_score"] else ""
    by += f"{' and ' if by else ''}by a rule" if warning["by_rule"] else ""
    lines = _indented(
        f"WARNING {warning['previous_tier']} to {warning['tier']} {by}, until {moment(warning['expires_at'])}"
    )
    reasons = "; ".join(describe_reason(Reason.model_validate(reason)) for reason in warning["reasons"])
    lines += _indented(reasons) if reasons else []
    escalated = warning["escalated_at"]
    later = "" if escalated is None else f"escalated {duration(escalated - warning['as_of'])} later"
    if warning["right"] is None:
        return lines + _indented(_NOT_COUNTED[warning["not_counted"]] + (f" ({later})" if later else ""))
    verdict = f"right: {later}" if warning["right"] else f"wrong: no escalation within {duration(horizon)}"
    return lines + _indented(verdict)


def _point(document: dict[str, Any], *, everything: bool) -> list[str]:
    point, model = document["point"], document["point"]["model"]
    score = "no score" if point["probability"] is None else percent(point["probability"])
    moved = point["tier"] if point["tier"] == point["previous_tier"] else f"{point['previous_tier']} to {point['tier']}"
    lines = _wrapped(
        f"Event {visible(point['event_id'])} at {moment(point['as_of'])}: {score}, tier {moved}"
        + (f" ({point['points_with_this_id']} points have this id)" if point["points_with_this_id"] > 1 else "")
    )
    if model is not None:
        until = "nothing" if model["learned_until"] is None else f"events until {moment(model['learned_until'])}"
        lines += _wrapped(
            f"Model {visible(model['name'])}, version {model['version']}, learnt from {until} "
            f"({count(model['examples'], 'example')}, {model['positives']:,} positive)."
        )
        if model["ahead"]:
            lines += _wrapped("The version had learnt from events after this point, so it proves nothing of quality.")
    for rule in point["rules"]:
        facts = "; ".join(describe_feature(fact["feature"], fact["value"]) for fact in rule["reasons"])
        lines += _wrapped(f"Rule {rule['rule']} (limit {rule['limit']:g}) raises to {rule['tier']}: {facts}.")
    if point["unscored"] is not None:
        alone = "Only rules decided." if point["rules"] else "Nothing decided, so the tier stayed as it was."
        return lines + _wrapped(f"No score: {_UNSCORED[point['unscored']]}. {alone}")
    if not model["kept"]:
        lines += _wrapped(
            "The model runs in River, and no file of a run holds its state, so its score cannot be taken apart. The "
            "reasons of its warnings are in the timeline."
        )
        return lines + _threshold(point)
    if not point["verified"]:
        return lines + _wrapped(
            "Attention: the version gives another probability than the one in the file, so its contributions are not "
            "shown. Replay the log again."
        )
    lines += ["", *_sum(point["score"], point["probability"], everything=everything)]
    return [*lines, "", *_threshold(point)]


def _sum(score: dict[str, Any], probability: float, *, everything: bool) -> list[str]:
    """Return the score as a sum in log-odds, by family; what raises it comes first."""
    lines = _row("start, before any feature counts", score["start"])
    for family in score["families"]:
        facts = [fact for fact in family["features"] if everything or abs(fact["contribution"]) > SMALL]
        rest = [fact for fact in family["features"] if fact not in facts and fact["contribution"]]
        if not facts and abs(family["contribution"]) < _NOTHING:
            continue
        lines += _row(family["family"], family["contribution"])
        for one in facts:
            lines += _row(describe_feature(one["feature"], one["value"]), one["contribution"], 1)
        if facts and rest:
            small = sum(one["contribution"] for one in rest)
            lines += _row(count(len(rest), "smaller contribution"), small, 1)
    lines += _row("score in log-odds", score["log_odds"])
    full = score["full_from"]
    if full is not None and score["log_odds"] >= full:
        served = f"Every score from {signed(full)} on is served as {percent(1.0)}."
    else:
        served = (
            f"Its odds, corrected for the sample and the weight of positives, are served as {percent(probability)}."
        )
    return lines + _wrapped(served)


def _row(text: str, number: float, depth: int = 0) -> list[str]:
    """Return a text with a number at the right; that of a deeper level is indented, and its number further left."""
    room, indent = WIDTH - 2 * _NUMBER, "  " * depth
    lines = _wrapped(text, indent, f"{indent}  ", room)
    return [*lines[:-1], f"{lines[-1]:<{room}}{signed(number):>{_NUMBER if depth else 2 * _NUMBER}}"]


def _threshold(point: dict[str, Any]) -> list[str]:
    threshold, changes = point["threshold"], point["changes"]
    tier, at = threshold["tier"], threshold["probability"]
    if threshold["which"] == "rule":
        return _wrapped(f"A rule holds the user in {tier} until the warning expires, whatever the score.")
    if at is None:
        return _wrapped(f"No score enters {tier} yet: the threshold statistics do not support it.")
    limit = f"{tier} is {'entered from' if threshold['which'] == 'enter' else 'left below'} {percent(at)}"
    if threshold["above"] is None:
        return _wrapped(f"{limit}.")
    where = "above" if threshold["above"] >= 0 else "below"
    size = signed(abs(threshold["above"])).lstrip("+")
    lines = _wrapped(f"{limit}, {signed(threshold['log_odds'])} in log-odds: the score is {size} {where} it.")
    if changes is None:
        return lines
    if changes["single"]:
        lines += _wrapped(
            "Each of these changes alone, with all other features as they were, gives a score below it. Features hang "
            "together, so this shows what the model weighs, not what would have happened:"
        )
        shown = changes["single"][:MOST_CHANGES]
        lines += [line for one in shown for line in _indented(f"{_change(one)}: {percent(one['probability'])}", 2)]
        if len(changes["single"]) > len(shown):
            lines += _indented(f"and {count(len(changes['single']) - len(shown), 'more change')}", 2)
    else:
        lines += _wrapped("No single feature, unknown, zero or at its median in the run, gives a score below it.")
    if changes["families"]:
        without = "; ".join(f"{one['family']}: {percent(one['probability'])}" for one in changes["families"])
        lines += _wrapped(f"With a whole family unknown, the score is below it for {without}.")
    else:
        lines += _wrapped("Nor does any family of features, if all of it is unknown.")
    return lines


def _change(one: dict[str, Any]) -> str:
    if one["to"] == "unknown":
        return f"{describe_feature(one['feature'], None)}"
    usual = " (the median of the run)" if one["to"] == "typical" else ""
    return f"{describe_feature(one['feature'], one['value'])}{usual}"


def _timed(at: int, text: str) -> list[str]:
    return _wrapped(f"{moment(at)}  {text}", further=" " * _TIME)


def _indented(text: str, by: int = _TIME) -> list[str]:
    return _wrapped(text, " " * by, " " * (by + 2))


def _wrapped(text: str, first: str = "", further: str = "", width: int = WIDTH) -> list[str]:
    """Return a text in lines of at most `width` columns; a number and its percent sign stay together."""
    lines = textwrap.wrap(
        text.replace(" %", f"{_JOIN}%"),
        width,
        initial_indent=first,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )
    return [line.replace(_JOIN, " ") for line in lines]
