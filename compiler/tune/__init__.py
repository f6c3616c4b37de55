"""Searches schedules around those that edgec derives, by measuring them, and keeps what it learns."""
