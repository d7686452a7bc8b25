"""Shipped checkpoints and tables (package data)."""
