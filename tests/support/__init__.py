"""What the tests share: the oracle, the helper children, the engines, isolated interpreters."""
