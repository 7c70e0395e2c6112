"""The verbs of slws as functions, for the command and for notebooks. They return values and never print."""
