"""Tests that cannot hold under a tool by its nature: for which tools, which tests, and why."""

LEFT_OUT = [
    (
        "address thread",
        "test_degrade.py::test_where_memory_is_not_shared*",
        "two tools in one process: it runs its interpreter under valgrind",
    ),
    (
        "address thread",
        "test_degrade.py::test_no_memory_for_the_childs_stack*",
        "the runtime needs the mmap that the test refuses",
    ),
    (
        "address thread memory",
        "test_counts.py::*",
        "it counts the system calls of the process, and the tool makes some too",
    ),
    (
        "address thread memory",
        "test_cmd.py::test_ten_thousand_live_children*",
        "it bounds the memory of the process, and the tool takes some too",
    ),
    (
        "address",
        "test_degrade.py::test_run_on_the_command_line_works_where_much_is_refused",
        "LeakSanitizer needs the clone that the test refuses",
    ),
]
