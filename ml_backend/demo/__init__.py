"""The demo: Label Studio, backend and worker on this machine, from one command."""

from ml_backend.demo.options import DemoOptions

__all__ = ["DemoOptions", "run_demo"]


def run_demo(options: DemoOptions) -> int:
    """Run the demo; see :func:`ml_backend.demo.run.run_demo`."""
    # Heavy imports only when it really runs.
    from ml_backend.demo.run import run_demo as run

    return run(options)
