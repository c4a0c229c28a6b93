"""Erasing one subject's keys."""
