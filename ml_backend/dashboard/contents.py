"""The pages of each project, in the order of the navigation; the one place where a page joins."""

from __future__ import annotations

from ml_backend.dashboard.explore_page import create_explore
from ml_backend.dashboard.health_page import create_health
from ml_backend.dashboard.learning_page import create_learning
from ml_backend.dashboard.models_page import create_models
from ml_backend.dashboard.people_page import create_people
from ml_backend.dashboard.progress_page import create_progress
from ml_backend.dashboard.queue_page import create_queue
from ml_backend.dashboard.site import DashboardPage

PAGES = (
    DashboardPage("progress", "Progress", create_progress),
    DashboardPage("learning", "Learning", create_learning),
    DashboardPage("people", "People", create_people),
    DashboardPage("queue", "Queue", create_queue),
    DashboardPage("explore", "Explore", create_explore),
    DashboardPage("models", "Models", create_models),
    DashboardPage("health", "Health", create_health),
)
