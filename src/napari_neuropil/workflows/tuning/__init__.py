"""Fine-tuning of a promptable network on what a user corrected: `requests`, `prepare`, `tune`."""
