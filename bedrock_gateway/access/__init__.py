"""Who may call: keys, callers and their policies. Pure."""
