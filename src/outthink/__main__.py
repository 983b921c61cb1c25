"""`python -m outthink`."""

from outthink.cli import main

main()
