"""`python -m kpi.cli`, for where the command `kpi` is not installed."""

from kpi.cli.main import main

main()
