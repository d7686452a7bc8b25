"""The R1 pipeline beside the core: general tasks (general.py; its `register()` adds them to the core's table of tasks)."""
