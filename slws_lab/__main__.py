"""`python -m slws_lab` is the `slws` command."""

from slws_lab.cli import main

main()
