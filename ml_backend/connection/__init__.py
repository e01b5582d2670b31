"""Connect a Label Studio project to this backend, and find out what stands in the way."""

from ml_backend.connection.doctor import doctor
from ml_backend.connection.findings import Finding
from ml_backend.connection.wiring import ConnectReport, connect

__all__ = ["ConnectReport", "Finding", "connect", "doctor"]
