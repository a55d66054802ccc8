"""Many at once, kills and full disks: in a short form in the suite, in full by ``python -m tests.soak``."""
