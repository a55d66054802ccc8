"""The schema of the store, as alembic migrations."""
