"""The records that cross a topic, validated."""
