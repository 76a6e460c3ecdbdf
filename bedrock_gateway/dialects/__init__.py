"""Dialects: how a caller speaks.

A dialect gives errors the caller's shape and gives each *attempt* a relay: an object made for that attempt alone, with
``request(body) -> body`` for what is sent, ``receive_data(data) -> data`` and ``receive_eof() -> data`` for what comes
back. What is sent depends on the deployment, so that it is written behind this seam and not once per call.

speech           what the chain asks of a dialect; streams: relays of streamed answers
bedrock          Bedrock's own, and what it is edited by: edits, clamp, request_metadata, named_models
requests         bodies: fields, long_strings; what is read of them: contents, output_limits, prefixes
converse_blocks  blocks of Converse, as dialects make them
openai/          chat completions, Responses, embeddings, rerank; images/
anthropic/       messages and their count
families/        what each family of models is told in its own words
"""
