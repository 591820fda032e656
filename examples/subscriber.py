"""Subscribe to risk events: print warnings, and forget users who were erased.

    python examples/subscriber.py localhost:9092

Needs a running forewarn. Messages are read in any of its encodings without a schema registry.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from confluent_kafka import Consumer

from forewarn import Decoder, RiskEvent

TOPIC = "risk.events"


def handle(key: bytes, value: bytes | None, decoder: Decoder, say: Callable[[str], None] = print) -> None:
    """Act on one message: a tombstone, a warning, or the end of one."""
    if value is None:
        say(f"forget {key.decode()}")
        return
    event = decoder.decode(value)
    if not isinstance(event, RiskEvent):
        raise TypeError(f"{TOPIC} holds {type(event).__name__}")
    if event.tier == "none":
        say(f"{event.user_id} is no longer warned of")
        return
    reasons = ", ".join(f"{reason.feature}={reason.value:g}" for reason in event.reasons if reason.value is not None)
    say(f"{event.user_id} is {event.tier} because of {reasons}")


def main(servers: str) -> None:
    """Read until interrupted. Offsets are committed after a message was handled, so a crash repeats at most one."""
    decoder = Decoder("risk_event")
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "example-subscriber",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe([TOPIC])
    try:
        while True:
            message = consumer.poll(1.0)
            if message is None or message.error():
                continue
            handle(message.key(), message.value(), decoder)
            consumer.commit(message)
    except KeyboardInterrupt:
        pass
    finally:
        consumer.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "localhost:9092")
