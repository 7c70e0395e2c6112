"""`python -m slws_lab.cli` is the `slws` command."""

from slws_lab.cli import main

main()
