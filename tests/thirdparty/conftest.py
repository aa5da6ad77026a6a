"""The packages in here are installed and tested by tests/test_thirdparty.py, in a Python of their own."""

collect_ignore_glob = ["*/tests/*"]
