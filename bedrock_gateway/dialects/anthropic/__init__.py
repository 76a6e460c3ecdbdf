"""Anthropic's messages: Claude's own through InvokeModel, of all other models through Converse."""
