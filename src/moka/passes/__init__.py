"""Rewriting of programs before they run: rules in lists, applied by one driver."""
