"""The command line: each command reads its words, calls one workflow and shows what comes back."""
