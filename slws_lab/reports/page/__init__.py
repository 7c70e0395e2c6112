"""report.html of a study."""
