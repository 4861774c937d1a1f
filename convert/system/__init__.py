"""Files, machine and progress: what everything stands on."""
