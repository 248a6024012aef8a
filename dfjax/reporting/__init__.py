"""Decisions become pages, tables and figures."""
