"""Follow one user from the first message to an overturned sanction, and print what forewarn does at each step.

    python examples/one_user.py

A hand-made model stands in for a learnt one: the probability is 0.05, doubled by the first report and multiplied by 1.5
by the second.
"""

from __future__ import annotations

from forewarn import FlowDriver, RiskEvent, hand_made_model, small_policy

USER = "p057"


def story() -> list[str]:
    """Return a line for each decision point, risk event and outcome, in the order of the log."""
    policy = small_policy(tiers={"watch": {"enter": 0.1, "leave": 0.06}, "high": {"enter": 0.5, "leave": 0.3}})
    driver = FlowDriver(policy)
    driver.chat(USER, channel="lobby", text="anyone up for a raid tonight?")
    driver.advance("10m")
    driver.chat(USER, channel="raid", text="learn to play or leave")
    driver.advance("1m")
    driver.report(USER, "p012", category="abuse")
    driver.advance("5m")
    driver.report(USER, "p031", category="abuse")
    driver.advance("2h")
    driver.sanction(USER, severity=5, event_id="mute-1")
    driver.advance("1h")
    driver.reverse(USER, "mute-1")
    driver.advance("1h")
    driver.chat(USER, channel="lobby", text="thanks")
    result = driver.run(model=hand_made_model(0.05, {"report_count_24h": 1.0}))
    points = [(row.point.at.offset, 0, f"decision point   p={row.probability:.3f}") for row in result.served]
    changes = [(event.trigger.offset, 1, f"risk event       {described(event)}") for event in result.risk_events]
    outcomes = [(outcome.at.offset, 2, f"outcome          {outcome.kind}") for outcome in result.outcomes]
    return [f"event {offset}  {text}" for offset, _, text in sorted(points + changes + outcomes)]


def described(event: RiskEvent) -> str:
    """Return the change of tier and its reasons."""
    why = ", ".join(f"{reason.feature}={reason.value:g}" for reason in event.reasons)
    return f"{event.previous_tier} -> {event.tier} because of {why}"


if __name__ == "__main__":
    print("\n".join(story()))
