"""The worker behind prompts: what it is asked (`messages`), and how it answers (`worker`)."""
