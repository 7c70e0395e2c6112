"""The figures of a report: their data, computed and tested apart, and the drawing."""
