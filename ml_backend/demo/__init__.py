"""The demo: Label Studio, backend and worker on this machine, from one command."""
