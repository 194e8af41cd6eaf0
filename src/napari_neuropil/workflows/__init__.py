"""The use cases that window, command line and scripts call."""
