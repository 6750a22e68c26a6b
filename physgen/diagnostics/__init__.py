"""Diagnostics: what shows that a posterior can be relied on, or not."""
