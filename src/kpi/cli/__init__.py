"""The command line: `kpi`."""
