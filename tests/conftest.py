"""Before all tests: a shell that starts them in the background lets SIGINT be ignored, and every process inherits that. Some tests
press Ctrl-C and would wait in vain."""

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
