"""What `spawnkit.subprocess` and `spawnkit.install` are made of.

    standard    the standard module's methods as they were before anybody replaced them
    planning    from what Popen was given to a launch plan
    counts      who started what: `stats`
    failing     the standard module's exception for a SpawnError
    starting    `_execute_child`: audit, plan, spawn; or the standard way, and why
    waiting     poll, wait, send_signal, rusage
    talking     `communicate` through the pump
    opening     `Popen.__init__` for what most programs ask for
    short       `run` without a Popen
    methods     which of them stand for which method of the standard class
    installing  puts them there, and takes them back
    replacing   what that is done with
    aio         asyncio's child watchers
    os_spawn    os.posix_spawn and os.posix_spawnp, which `install` can be asked for
    os_system   os.system, likewise

A method is a plain function, since it serves two classes: our subclass of `subprocess.Popen`, and
after `install` the standard class itself.
"""
