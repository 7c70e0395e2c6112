"""The tables of a report as views."""
