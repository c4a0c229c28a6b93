"""Looks into the sinks for values of declared fields that are no envelopes; shares nothing with what encrypts."""
