"""The one door to librdkafka: what its clients are told, how they are made, and what their errors mean."""
