"""`python -m weighbridge`."""

from weighbridge.entry import main

main()
