"""Adapters: the hooks that build tools and task runners offer, spawning through spawnkit.

`scons`, `waf`, `invoke`: each shows the lines that a user adds. Nothing is loaded from here.
"""
