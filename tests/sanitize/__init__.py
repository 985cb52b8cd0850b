"""The tests under AddressSanitizer, ThreadSanitizer and valgrind: the tools of `make sanitize`."""
