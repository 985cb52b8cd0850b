"""Tests that cannot hold under a tool by its nature: for which tools, which tests, and why."""

LEFT_OUT = [
    (
        "address thread",
        "test_ending.py::test_a_thousand_at_once_take_ten_kilobytes_each",
        "the tool's own memory is counted too",
    ),
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
        "thread",
        "test_die_with_parent.py::test_a_forked_process_is_a_parent_of_its_own*",
        "the runtime knows no thread that is started after a fork of several",
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
    (
        "address thread",
        "test_degrade_rows.py::*",
        "the runtime needs what the rows take away",
    ),
    (
        "address thread",
        "test_descriptors.py::test_all_is_closed_without_proc*",
        "the runtime itself needs /proc",
    ),
    (
        "address thread memory",
        "test_soak.py::test_in_a_storm*",
        "it bounds the memory of the process, and the tool takes some too",
    ),
    (
        "address thread memory",
        "test_soak.py::test_the_storm*",
        "it bounds the memory of the process, and the tool takes some too",
    ),
    (
        "address thread memory",
        "test_sanitize.py::test_nothing_is_reported*",
        "it makes the tool itself anew",
    ),
    (
        "address thread memory",
        "test_sanitize.py::test_what_is_planted_is_found*",
        "it makes the tool itself anew",
    ),
    (
        "address thread memory",
        "test_faults.py::*",
        "it runs a build of its own, and the tool wants one of its own too",
    ),
    (
        "address thread memory",
        "test_faults_outside.py::*",
        "strace, and an allocator that fails, are in each other's way with the runtime",
    ),
    (
        "memory",
        "test_state.py::test_errors_are_values_too*posix_spawn*",
        "glibc's posix_spawn tells of a failure through shared memory",
    ),
    (
        "address thread memory",
        "test_errors_starting.py::test_thousands_of_failing_starts*",
        "it bounds the memory of the process, and the tool takes some too",
    ),
    (
        "address thread memory",
        "test_cli_py.py::*",
        "`spawnkit py` is a sitecustomize, and in each interpreter the tool's own is before it",
    ),
    (
        "address thread",
        "test_adapters.py::test_a_program_without_a_shell_has_the_directory*",
        "the interpreter it starts gets an environment without the variables of the tool",
    ),
]

# Without LeakSanitizer only: it stops all threads with ptrace and a clone of its own. So are tests
# that refuse calls, or run an interpreter under another program (plugin.py).
WITHOUT_LEAKS = [
    ("test_comparator.py::*", "strace traces already"),
    (
        "test_rough_company.py::test_an_interpreter_may_end_while_its_threads_spawn*",
        "a daemon thread that Python stops for good loses what it had in its hands",
    ),
    (
        "test_shell.py::test_no_shell_where_real_and_effective_ids_differ*",
        "who has changed his ids may not be traced",
    ),
]
