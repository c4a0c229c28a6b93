"""Requests that kafka-python does not have, in the form in which Kafka's own are described."""

from kafka.protocol.api_message import ApiMessage


class ConsumerGroupDescribeRequest(ApiMessage, load_json=__name__):  # type: ignore[misc, call-arg]
    """Asks a coordinator for groups of the `consumer` protocol (KIP-848)."""


class ConsumerGroupDescribeResponse(ApiMessage, load_json=__name__):  # type: ignore[misc, call-arg]
    """What it has of each: the members, and what it has assigned to them."""
