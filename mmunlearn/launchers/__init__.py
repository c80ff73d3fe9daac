"""Launchers: where the commands of a grid run. `submit(command, resources, env)` gives a job with state and tail."""
