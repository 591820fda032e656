"""Partition of a key, as computed by every Kafka client that has the Java client's default partitioner."""

from __future__ import annotations

from functools import lru_cache

_SEED, _MULTIPLY, _SHIFT = 0x9747B28C, 0x5BD1E995, 24
_BITS = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Return the MurmurHash2 (Austin Appleby, public domain) with Kafka's seed; 32 bits, unsigned."""
    value = _SEED ^ len(data)
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * _MULTIPLY & _BITS
        word ^= word >> _SHIFT
        value = value * _MULTIPLY & _BITS ^ word * _MULTIPLY & _BITS
    if whole < len(data):
        value = (value ^ int.from_bytes(data[whole:], "little")) * _MULTIPLY & _BITS
    value = (value ^ value >> 13) * _MULTIPLY & _BITS
    return value ^ value >> 15


def partition_among(user_id: str, partitions: int) -> int:
    """Return the partition of records whose key is this user, for a topic with this number of partitions."""
    return (murmur2(user_id.encode("utf-8", "surrogatepass")) & 0x7FFFFFFF) % partitions


@lru_cache(maxsize=65_536)
def partition_of(user_id: str, partitions: int) -> int:
    """Return `partition_among`, cached for the most recently used users."""
    return partition_among(user_id, partitions)
